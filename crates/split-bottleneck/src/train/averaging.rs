//! The running mean of a unit's weights.

use burn::module::Module;
use rand_core::SeedableRng;
use rand_pcg::Pcg64;

use super::Training;
use crate::state::{ModuleState, load_state, module_state, usize_to_f32};
use crate::unit::Unit;

impl Training {
    /// The weights that the last step left.
    pub(super) fn last_weights(&self) -> ModuleState {
        // `valid` first takes in what the last forward pass left pending in running statistics.
        module_state(&self.unit.valid())
    }

    /// A unit with these weights. Running statistics are shared between clones, so it is a new one.
    pub(super) fn unit_of(&self, weights: &ModuleState) -> Unit {
        let drawn = self
            .unit_config
            .init(&self.device, &mut Pcg64::seed_from_u64(self.config.seed))
            .expect("the configuration held at the start");
        load_state(drawn, weights).expect("weights of this very unit")
    }

    /// Takes the weights after a step into the running mean.
    pub(super) fn average(&mut self) {
        if self.config.averaging == 0.0 {
            return;
        }
        let last = self.last_weights();
        let Some(averaged) = &mut self.averaged else {
            self.averaged = Some(last);
            return;
        };
        let done = usize_to_f32(self.step);
        let decay = self.config.averaging.min((done + 1.0) / (done + 10.0));
        for (path, mean) in averaged {
            // A value that stands still stays what it is, to the bit.
            for (mean, value) in mean.values.iter_mut().zip(&last[path].values) {
                *mean += (1.0 - decay) * (value - *mean);
            }
        }
    }
}
