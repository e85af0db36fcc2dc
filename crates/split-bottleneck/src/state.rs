use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Tensor, TensorData};
use rand_core::Rng;
use rand_pcg::Pcg64;

use crate::error::StateError;

/// A tensor on the host: shape and values in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub struct HostTensor {
    /// Length of each dimension.
    pub shape: Vec<usize>,
    /// Values, last dimension fastest.
    pub values: Vec<f32>,
}

/// Parameters and running statistics of a module by path (`encoder.bn2_1.gamma`).
pub type ModuleState = BTreeMap<String, HostTensor>;

/// Reads all float parameters and running statistics of a module.
pub fn module_state<M: Module>(module: &M) -> ModuleState {
    let mut visitor = Reader::default();
    module.visit(&mut visitor);
    visitor.state
}

/// Puts a saved state into a module of the same layout.
///
/// Running statistics are shared by clones of a Burn module, so load into a freshly
/// initialised one.
///
/// # Errors
///
/// Names each tensor that is missing, unexpected or of another shape; the module is lost then.
pub fn load_state<M: Module>(module: M, state: &ModuleState) -> Result<M, StateError> {
    let present = module_state(&module);
    for (path, tensor) in &present {
        let Some(found) = state.get(path) else {
            return Err(StateError::Missing { path: path.clone() });
        };
        if found.shape != tensor.shape {
            return Err(StateError::Shape {
                path: path.clone(),
                expected: tensor.shape.clone(),
                found: found.shape.clone(),
            });
        }
    }
    if let Some(path) = state.keys().find(|path| !present.contains_key(*path)) {
        return Err(StateError::Unexpected { path: path.clone() });
    }
    Ok(module.map(&mut Writer {
        path: Vec::new(),
        state,
    }))
}

/// Identity of each parameter by path; optimizer states are kept under it.
pub(crate) fn module_ids<M: Module>(module: &M) -> BTreeMap<String, u64> {
    let mut visitor = Identities::default();
    module.visit(&mut visitor);
    visitor.ids
}

/// Gives parameters the identities they had when an optimizer state was saved.
pub(crate) fn with_ids<M: Module>(module: M, ids: &BTreeMap<String, u64>) -> M {
    module.map(&mut Identifier {
        path: Vec::new(),
        ids,
    })
}

/// Number of parameters that an optimizer may change (running statistics not counted).
pub fn parameter_count<M: Module>(module: &M) -> usize {
    module_state(module)
        .iter()
        .filter(|(path, _)| !path.contains("running_"))
        .map(|(_, tensor)| tensor.values.len())
        .sum()
}

/// Overwrites what Burn's initialisers drew, whose generator is process-wide, with draws
/// from `rng`: He-uniform for weights of rank two and more, zero for biases. Parameters of
/// normalisation layers stay at their constants.
pub fn redraw<M: Module>(module: M, rng: &mut Pcg64) -> M {
    module.map(&mut Drawer {
        path: Vec::new(),
        rng,
    })
}

#[derive(Default)]
struct Reader {
    path: Vec<String>,
    state: ModuleState,
}

impl ModuleVisitor for Reader {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        let shape = tensor.dims().to_vec();
        let values = tensor
            .into_data()
            .convert::<f32>()
            .try_to_vec()
            .expect("converted to f32 above");
        self.state
            .insert(self.path.join("."), HostTensor { shape, values });
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }
}

#[derive(Default)]
struct Identities {
    path: Vec<String>,
    ids: BTreeMap<String, u64>,
}

impl ModuleVisitor for Identities {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.ids.insert(self.path.join("."), param.id.val());
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }
}

struct Identifier<'a> {
    path: Vec<String>,
    ids: &'a BTreeMap<String, u64>,
}

impl ModuleMapper for Identifier<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(id) = self.ids.get(&self.path.join(".")) else {
            return param;
        };
        let (_, tensor, mapper) = param.consume();
        Param::from_mapped_value(ParamId::from(*id), tensor, mapper)
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }
}

struct Writer<'a> {
    path: Vec<String>,
    state: &'a ModuleState,
}

impl ModuleMapper for Writer<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(saved) = self.state.get(&self.path.join(".")) else {
            return param;
        };
        let data = TensorData::new(saved.values.clone(), saved.shape.clone());
        param.map(|old| replace(old, data))
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }
}

struct Drawer<'a> {
    path: Vec<String>,
    rng: &'a mut Pcg64,
}

impl ModuleMapper for Drawer<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let shape = param.val().dims().to_vec();
        let count = shape.iter().product();
        let values = if D >= 2 {
            let fan_in: usize = shape.iter().skip(1).product();
            // He initialisation: variance 2 / fan_in, hence bound sqrt(6 / fan_in).
            let bound = (6.0 / usize_to_f32(fan_in.max(1))).sqrt();
            (0..count)
                .map(|_| (2.0 * uniform(self.rng) - 1.0) * bound)
                .collect()
        } else if self.path.last().is_some_and(|name| name == "bias") {
            vec![0.0; count]
        } else {
            return param;
        };
        param.map(|old| replace(old, TensorData::new(values, shape)))
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }
}

fn replace<const D: usize>(old: Tensor<D>, data: TensorData) -> Tensor<D> {
    let tracked = old.is_require_grad();
    Tensor::from_data(data, &old.device()).set_require_grad(tracked)
}

/// A draw from `[0, 1)` with 24 bits, the same on every machine.
pub(crate) fn uniform(rng: &mut Pcg64) -> f32 {
    let bits = rng.next_u32() >> 8;
    let [low, middle, high, _] = bits.to_le_bytes();
    let low = u16::from_le_bytes([low, middle]);
    (f32::from(high) * 65_536.0 + f32::from(low)) / 16_777_216.0
}

/// Counts in this crate are far below 2^24, where `f32` is exact.
#[expect(clippy::cast_precision_loss, reason = "counts are below 2^24")]
pub(crate) fn usize_to_f32(count: usize) -> f32 {
    count as f32
}
