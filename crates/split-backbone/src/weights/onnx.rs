//! ONNX files: the initialisers of a graph, and the order of its convolutions.
//!
//! Exporters fold batch norms into convolutions and give the results numbers for names. What a number stands for
//! is told by the graph: its convolutions run in the order of the network's, each behind the same ones.

mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::BitOr;

use burn::store::bridge;
use burn::store::burn_pack::Tensor as StoredTensor;
use burn::tensor::{TensorData, bf16, f16};
use thiserror::Error;

use self::wire::{Fields, Value, WireError};

/// Bounds on what one graph lists, so that a small file cannot ask for much memory or time.
const MAX_NODES: usize = 1 << 16;
const MAX_EDGES: usize = 1 << 18;
const MAX_INITIALISERS: usize = 1 << 16;
const MAX_CONVOLUTIONS: usize = 1 << 10;
const MAX_DIMENSIONS: usize = 8;

/// Why a file is refused.
#[derive(Debug, Error)]
pub(super) enum OnnxError {
    #[error("no ONNX model: {0}")]
    Wire(#[from] WireError),
    #[error("an ONNX model without a graph")]
    NoGraph,
    #[error("its graph has more than {limit} {what}")]
    TooMany { what: &'static str, limit: usize },
    #[error("a text in it is no UTF-8")]
    Text,
    #[error("it holds no floating-point initialisers")]
    Empty,
    #[error("initialiser {0} is there twice")]
    Twice(String),
    #[error("initialiser {0} is kept in another file; save the model as one file")]
    External(String),
    #[error("initialiser {name} has no valid shape")]
    Shape { name: String },
    #[error("initialiser {name} holds {found} bytes of values, its shape asks for {expected}")]
    Length {
        name: String,
        found: usize,
        expected: usize,
    },
}

/// Why a graph does not run the convolutions of a network.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum OrderError {
    #[error("it runs {found} convolutions where the network runs {expected}")]
    Count { found: usize, expected: usize },
    #[error(
        "its convolution {place} reads other tensors than {name}, which the network runs there"
    )]
    Dataflow { place: usize, name: String },
    #[error("its convolution {place} is {found}, the network runs {expected} there")]
    Name {
        place: usize,
        found: String,
        expected: String,
    },
    #[error("its batch norms are apart from its convolutions, whose names it doesn't keep")]
    Norms,
    #[error("the {part} of its convolution {place} ({name} of the network) is no initialiser")]
    Computed {
        place: usize,
        name: String,
        part: &'static str,
    },
}

/// A convolution of a network, in the order in which they run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Name of its tensors without `.weight` and `.bias`.
    pub(crate) name: String,
    /// Those whose outputs reach its input past no other convolution.
    pub(crate) after: Places,
}

/// A set of convolutions by their places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Places([u64; MAX_CONVOLUTIONS / 64]);

impl Places {
    /// # Panics
    ///
    /// From place [`MAX_CONVOLUTIONS`] on.
    pub(crate) fn only(place: usize) -> Self {
        let mut places = Self::default();
        places.0[place / 64] |= 1 << (place % 64);
        places
    }
}

impl BitOr for Places {
    type Output = Self;

    fn bitor(mut self, more: Self) -> Self {
        for (word, more) in self.0.iter_mut().zip(more.0) {
            *word |= more;
        }
        self
    }
}

/// What a file holds.
#[derive(Debug)]
pub(super) struct OnnxFile {
    pub(super) tensors: BTreeMap<String, StoredTensor>,
    pub(super) graph: Graph,
}

/// The convolutions of a graph in the order in which they run.
#[derive(Debug, Default)]
pub(super) struct Graph {
    convolutions: Vec<Convolution>,
    /// Tensors that are others under a second name.
    aliases: BTreeMap<String, String>,
    has_norms: bool,
}

#[derive(Debug)]
struct Convolution {
    weight: String,
    bias: Option<String>,
    after: Places,
}

/// Whether bytes start like an ONNX file: with the field of the format's version.
pub(super) fn starts_like_one(start: &[u8]) -> bool {
    start.first() == Some(&0x08)
}

impl OnnxFile {
    /// Reads a `ModelProto` (onnx.proto3 of ONNX 1.x; field numbers from there).
    ///
    /// The reader takes pieces of `bytes` as they lie: general readers of protobuf build every message first,
    /// which costs many times the bytes of a file made for it.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, OnnxError> {
        let mut graph = None;
        for field in Fields::of(bytes) {
            if let (7, Value::Bytes(bytes)) = field? {
                graph = Some(bytes);
            }
        }
        let graph = graph.ok_or(OnnxError::NoGraph)?;
        let mut nodes = Vec::new();
        let mut tensors = BTreeMap::new();
        let mut initialisers = 0;
        for field in Fields::of(graph) {
            match field? {
                (1, Value::Bytes(bytes)) => {
                    push_within(&mut nodes, bytes, "nodes", MAX_NODES)?;
                }
                (5, Value::Bytes(bytes)) => {
                    initialisers += 1;
                    within(initialisers, "initialisers", MAX_INITIALISERS)?;
                    let Some((name, tensor)) = initialiser(bytes)? else {
                        continue;
                    };
                    if tensors.insert(name.clone(), tensor).is_some() {
                        return Err(OnnxError::Twice(name));
                    }
                }
                _ => {}
            }
        }
        if tensors.is_empty() {
            return Err(OnnxError::Empty);
        }
        Ok(Self {
            tensors,
            graph: Graph::read(&nodes)?,
        })
    }
}

impl Graph {
    fn read(nodes: &[&[u8]]) -> Result<Self, OnnxError> {
        let mut graph = Self::default();
        // From a tensor to the convolutions that it comes from.
        let mut sources: BTreeMap<&str, Places> = BTreeMap::new();
        let mut edges = 0;
        for &bytes in nodes {
            let (mut inputs, mut outputs, mut operator) = (Vec::new(), Vec::new(), "");
            for field in Fields::of(bytes) {
                match field? {
                    (1, Value::Bytes(bytes)) => inputs.push(text(bytes)?),
                    (2, Value::Bytes(bytes)) => outputs.push(text(bytes)?),
                    (4, Value::Bytes(bytes)) => operator = text(bytes)?,
                    _ => continue,
                }
                edges += 1;
                within(edges, "inputs and outputs", MAX_EDGES)?;
            }
            let source_of = |input: &&str| sources.get(input).copied().unwrap_or_default();
            let from = if operator == "Conv" {
                let place = graph.convolutions.len();
                within(place + 1, "convolutions", MAX_CONVOLUTIONS)?;
                graph.convolutions.push(Convolution {
                    weight: inputs.get(1).copied().unwrap_or_default().to_owned(),
                    bias: inputs.get(2).copied().map(str::to_owned),
                    after: inputs.first().map(source_of).unwrap_or_default(),
                });
                Places::only(place)
            } else {
                graph.has_norms |= operator == "BatchNormalization";
                if let ("Identity", [from], [to]) = (operator, &*inputs, &*outputs) {
                    graph.aliases.insert((*to).to_owned(), (*from).to_owned());
                }
                let all = inputs.iter().map(source_of);
                all.fold(Places::default(), Places::bitor)
            };
            for output in outputs {
                sources.insert(output, from);
            }
        }
        Ok(graph)
    }

    /// Gives the initialisers of the convolutions the names of a network's `steps`.
    ///
    /// What already has one of these names must stand at its place.
    pub(super) fn name_convolutions(
        &self,
        steps: &[Step],
        tensors: &mut BTreeMap<String, StoredTensor>,
    ) -> Result<(), OrderError> {
        if self.has_norms {
            return Err(OrderError::Norms);
        }
        if self.convolutions.len() != steps.len() {
            return Err(OrderError::Count {
                found: self.convolutions.len(),
                expected: steps.len(),
            });
        }
        let known: BTreeSet<&str> = steps.iter().map(|step| step.name.as_str()).collect();
        let mut renamed = BTreeMap::new();
        for (place, (convolution, step)) in self.convolutions.iter().zip(steps).enumerate() {
            let Step { name, after } = step;
            if convolution.after != *after {
                return Err(OrderError::Dataflow {
                    place,
                    name: name.clone(),
                });
            }
            let parts = [
                ("weight", Some(&convolution.weight)),
                ("bias", convolution.bias.as_ref()),
            ];
            for (part, stored) in parts {
                let Some(stored) = stored.map(|name| self.original(name)) else {
                    continue;
                };
                let Some(tensor) = tensors.get(stored) else {
                    return Err(OrderError::Computed {
                        place,
                        name: name.clone(),
                        part,
                    });
                };
                let own = stored.rsplit_once('.').map_or(stored, |(module, _)| module);
                if own != name && known.contains(own) {
                    return Err(OrderError::Name {
                        place,
                        found: own.to_owned(),
                        expected: name.clone(),
                    });
                }
                renamed.insert(format!("{name}.{part}"), tensor.clone());
            }
        }
        // All convolutions have theirs: what is left are constants of other operators.
        *tensors = renamed;
        Ok(())
    }

    /// The first name of a tensor.
    fn original<'a>(&'a self, name: &'a str) -> &'a str {
        let mut name = name;
        // A chain has no more links than there are aliases; one that goes in a circle ends there too.
        for _ in 0..self.aliases.len() {
            match self.aliases.get(name) {
                Some(from) => name = from,
                None => break,
            }
        }
        name
    }
}

/// Whether a name is one that modules give their parameters: constants of a graph have others.
pub(super) fn names_parameter(name: &str) -> bool {
    let (module, parameter) = name.rsplit_once('.').unwrap_or(("", name));
    let parameters = [
        "weight",
        "bias",
        "running_mean",
        "running_var",
        "num_batches_tracked",
    ];
    !module.is_empty() && parameters.contains(&parameter)
}

/// A `TensorProto` of floating-point numbers, or none where it holds others.
fn initialiser(bytes: &[u8]) -> Result<Option<(String, StoredTensor)>, OnnxError> {
    let mut dims: Vec<u64> = Vec::new();
    let (mut kind, mut location) = (0, 0);
    let mut name = "";
    let mut raw = None;
    let mut floats: Vec<u8> = Vec::new();
    for field in Fields::of(bytes) {
        match field? {
            (1, Value::Varint(dim)) => push_within(&mut dims, dim, "dimensions", MAX_DIMENSIONS)?,
            (1, Value::Bytes(packed)) => {
                for dim in wire::varints(packed) {
                    push_within(&mut dims, dim?, "dimensions", MAX_DIMENSIONS)?;
                }
            }
            (2, Value::Varint(value)) => kind = value,
            (4, Value::Fixed32(value)) => floats.extend(value),
            (4, Value::Bytes(packed)) => floats.extend(packed),
            (8, Value::Bytes(bytes)) => name = text(bytes)?,
            (9, Value::Bytes(bytes)) => raw = Some(bytes),
            (14, Value::Varint(value)) => location = value,
            _ => {}
        }
    }
    let Some(kind) = Kind::of(kind) else {
        return Ok(None);
    };
    if location != 0 {
        return Err(OnnxError::External(name.to_owned()));
    }
    let no_shape = || OnnxError::Shape {
        name: name.to_owned(),
    };
    let mut shape = Vec::with_capacity(dims.len());
    let mut expected = kind.width();
    for dim in dims {
        // A negative number is a varint past any size.
        let dim = usize::try_from(dim).map_err(|_| no_shape())?;
        expected = expected.checked_mul(dim).ok_or_else(no_shape)?;
        shape.push(dim);
    }
    let bytes = match (raw, kind) {
        (Some(raw), _) => raw,
        (None, Kind::Single) => &floats,
        (None, _) => &[],
    };
    if bytes.len() != expected {
        return Err(OnnxError::Length {
            name: name.to_owned(),
            found: bytes.len(),
            expected,
        });
    }
    let data = TensorData::new(kind.values(bytes), shape);
    let tensor = bridge::from_data(data, name.to_owned(), None);
    Ok(Some((name.to_owned(), tensor)))
}

/// Floating-point types of `TensorProto.DataType`.
#[derive(Clone, Copy)]
enum Kind {
    Single,
    Half,
    Double,
    Brain,
}

impl Kind {
    fn of(number: u64) -> Option<Self> {
        Some(match number {
            1 => Self::Single,
            10 => Self::Half,
            11 => Self::Double,
            16 => Self::Brain,
            _ => return None,
        })
    }

    fn width(self) -> usize {
        match self {
            Self::Single => 4,
            Self::Half | Self::Brain => 2,
            Self::Double => 8,
        }
    }

    fn values(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::Single => converted(bytes, f32::from_le_bytes),
            Self::Half => converted(bytes, |bytes| f16::from_le_bytes(bytes).to_f32()),
            Self::Brain => converted(bytes, |bytes| bf16::from_le_bytes(bytes).to_f32()),
            #[expect(
                clippy::cast_possible_truncation,
                reason = "networks compute in single precision"
            )]
            Self::Double => converted(bytes, |bytes| f64::from_le_bytes(bytes) as f32),
        }
    }
}

fn converted<const N: usize>(bytes: &[u8], convert: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    let (values, _) = bytes.as_chunks::<N>();
    values.iter().map(|&value| convert(value)).collect()
}

fn text(bytes: &[u8]) -> Result<&str, OnnxError> {
    str::from_utf8(bytes).map_err(|_| OnnxError::Text)
}

fn push_within<T>(
    list: &mut Vec<T>,
    item: T,
    what: &'static str,
    limit: usize,
) -> Result<(), OnnxError> {
    within(list.len() + 1, what, limit)?;
    list.push(item);
    Ok(())
}

fn within(count: usize, what: &'static str, limit: usize) -> Result<(), OnnxError> {
    if count > limit {
        return Err(OnnxError::TooMany { what, limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
