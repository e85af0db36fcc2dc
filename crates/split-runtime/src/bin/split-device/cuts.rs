//! The models of a device: cuts of one network, each with its bank.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use burn::tensor::{Device as Compute, Tensor};
use split_backbone::ResNetHead;
use split_runtime::Contract;
use split_runtime::stage::{DeviceStage, contract_of};

use crate::choose::{Measured, Place, Weighed};
use crate::flight::finish;
use crate::program::folder::Model;
use crate::program::out;

/// Times the warm-up runs everything; the last run is measured.
const WARM_UPS: usize = 4;

/// How much faster an edge is taken to be than this device, until it answers.
const EDGE_SPEED: u64 = 10;

/// A model with what makes its frames.
pub(crate) struct Cut {
    pub(crate) model: Model,
    pub(crate) stage: DeviceStage<ResNetHead>,
}

/// At least one, in the order in which they were named.
pub(crate) struct Cuts(Vec<Cut>);

/// What a warm-up found.
pub(crate) struct Times {
    /// Of each model.
    pub(crate) each: Vec<Measured>,
    /// The slowest run of a tail here.
    pub(crate) slowest_us: u64,
}

impl Times {
    /// Time to keep for an answer that is computed here: twice the slowest tail and 5 ms, since a machine that
    /// does other things as well is slower than its best run. Several that begin together take turns; for those at
    /// most half of the deadline is kept.
    pub(crate) fn kept_us(&self, at_once: usize, deadline_us: u64) -> u64 {
        let one = self.slowest_us * 2;
        let all = one.saturating_mul(at_once as u64) + 5_000;
        all.min(deadline_us / 2).max(one + 5_000)
    }

    /// Takes over what the edge was seen to take for frames of some models.
    pub(crate) fn of_edge(&mut self, found: Vec<(usize, u64)>) {
        for (model, edge_us) in found {
            self.each[model].edge_us = edge_us;
        }
    }
}

impl Cuts {
    /// Loads models and checks that they are cuts of one network.
    ///
    /// # Errors
    /// Naming the folder and what is wrong with it.
    pub(crate) fn load(folders: &[PathBuf], compute: &Compute) -> Result<Self> {
        let mut cuts: Vec<Cut> = Vec::new();
        for folder in folders {
            let model = Model::load(folder, compute)?;
            if let Some(first) = cuts.first() {
                check_beside(&first.model, &model)
                    .with_context(|| format!("the model {}", folder.display()))?;
            }
            let split = &model.bank.backbone().split;
            ensure!(
                cuts.iter().all(|one| one.split() != split),
                "the model {}: another one is cut at {split} too; a device has one bank for each cut",
                folder.display()
            );
            let stage = DeviceStage::open(&model.bank, model.opened.head.clone(), compute)?;
            cuts.push(Cut { model, stage });
        }
        ensure!(!cuts.is_empty(), "no model was named");
        Ok(Self(cuts))
    }

    pub(crate) fn first(&self) -> &Cut {
        &self.0[0]
    }

    pub(crate) fn get(&self, model: usize) -> &Cut {
        &self.0[model]
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// What an edge has to agree with, for each cut in its order.
    pub(crate) fn contracts(&self) -> Result<Vec<Contract>> {
        let contracts = self.0.iter().map(|cut| contract_of(&cut.model.bank));
        Ok(contracts.collect::<Result<_, _>>()?)
    }

    /// The rung of this name or place, where a device that is told it has but one model.
    ///
    /// # Errors
    /// For an unknown rung, and for several models.
    pub(crate) fn fixed(&self, rung: &str) -> Result<Place> {
        let [cut] = &self.0[..] else {
            anyhow::bail!(
                "policy = \"fixed\" and {} models: it sends one rung of one of them; give one --model, or a \
                 --policy that chooses",
                self.0.len()
            );
        };
        let rung = cut.model.bank.find(rung)?;
        let rung = u16::try_from(rung).context("a rung's place has 16 bits")?;
        Ok(Place { model: 0, rung })
    }

    /// The models as policies weigh them.
    pub(crate) fn weighed(&self, times: &[Measured]) -> Vec<Weighed<'_>> {
        let pairs = self.0.iter().zip(times).enumerate();
        let weighed = pairs.map(|(model, (cut, times))| Weighed {
            model,
            bank: &cut.model.bank,
            times: *times,
        });
        weighed.collect()
    }

    /// Runs a grey picture through everything that may run here, so that the first real one isn't slower than
    /// the rest: all rungs, or the `fixed` one, and the tails where the device `falls_back`.
    ///
    /// # Errors
    /// Where a grey picture can't be coded.
    pub(crate) fn warm_up(
        &self,
        compute: &Compute,
        fixed: Option<Place>,
        falls_back: bool,
    ) -> Result<Times> {
        let mut times = Times {
            each: Vec::new(),
            slowest_us: 0,
        };
        for cut in &self.0 {
            let rungs = match fixed {
                Some(place) => place.rung..place.rung + 1,
                None => 0..u16::try_from(cut.model.bank.rungs().len())?,
            };
            let (measured, slowest_us) = cut.warm_up(compute, rungs, falls_back)?;
            times.each.push(measured);
            times.slowest_us = times.slowest_us.max(slowest_us);
        }
        Ok(times)
    }
}

impl Cut {
    pub(crate) fn split(&self) -> &str {
        &self.model.bank.backbone().split
    }

    /// The shortest frame of a grey picture, and its rung.
    pub(crate) fn shortest_frame(&self, compute: &Compute) -> Option<(u16, Vec<u8>)> {
        let activation = self.grey(compute);
        let rungs = (0..self.model.bank.rungs().len()).filter_map(|rung| u16::try_from(rung).ok());
        let frames = rungs.filter_map(|rung| {
            let frame = self.stage.frame(rung, activation.clone()).ok()?;
            Some((rung, frame))
        });
        frames.min_by_key(|(_, frame)| frame.len())
    }

    /// The activation of a grey picture.
    pub(crate) fn grey(&self, compute: &Compute) -> Tensor<4> {
        let side = self.model.framing.side();
        self.stage
            .activation(Tensor::zeros([1, 3, side, side], compute))
    }

    /// Times of the slowest rung and of the slowest tail.
    fn warm_up(
        &self,
        compute: &Compute,
        rungs: std::ops::Range<u16>,
        falls_back: bool,
    ) -> Result<(Measured, u64)> {
        let mut measured = Measured {
            head_us: 0,
            tail_us: 0,
            edge_us: 0,
        };
        let mut slowest_us = 0;
        for run in 0..WARM_UPS {
            let start = out::now();
            let activation = self.grey(compute);
            let activation_us = out::us_since(start);
            let mut coding_us = 0;
            for rung in rungs.clone() {
                let start = out::now();
                self.stage
                    .frame(rung, activation.clone())
                    .context("coding a grey picture; `side` in the manifest may be wrong")?;
                coding_us = coding_us.max(out::us_since(start));
            }
            measured.head_us = activation_us + coding_us;
            measured.tail_us = measured.head_us;
            if falls_back {
                let start = out::now();
                finish(&self.model.opened.tail, activation).context("the tail gave no scores")?;
                measured.tail_us = out::us_since(start);
                // The first run also finds memory, on a graphics card shaders too: it says nothing of the rest.
                if run > 0 {
                    slowest_us = slowest_us.max(measured.tail_us);
                }
            }
            measured.edge_us = measured.tail_us / EDGE_SPEED;
        }
        Ok((measured, slowest_us))
    }
}

/// Whether a model is another cut of the network of the first.
fn check_beside(first: &Model, model: &Model) -> Result<()> {
    let (one, other) = (first.bank.backbone(), model.bank.backbone());
    ensure!(
        one.name == other.name && one.weights_sha256 == other.weights_sha256,
        "it is for {} (weights {}), the first one for {} (weights {}); several models are cuts of one network",
        other.name,
        other.weights_sha256,
        one.name,
        one.weights_sha256
    );
    ensure!(
        first.framing == model.framing && first.classes == model.classes,
        "`side` or `classes` of its manifest differ from the first one's"
    );
    Ok(())
}
