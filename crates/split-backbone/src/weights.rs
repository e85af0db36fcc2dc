//! Weight files: read, check against the network, apply; save.

mod keys;
mod onnx;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::store::burn_pack::Tensor as StoredTensor;
use burn::store::{
    BurnToPyTorchAdapter, ModuleSnapshot, ModuleStore, PyTorchToBurnAdapter, PytorchStore,
    SafetensorsStore, bridge,
};
use burn::tensor::{DType, Device};
use sha2::{Digest, Sha256};
use thiserror::Error;

use self::keys::{RESNET, RESNET_FILES, Rule, rename};
pub(crate) use self::keys::{YOLOX, YOLOX_FILES};
use self::onnx::{Graph, OnnxFile};
pub(crate) use self::onnx::{Places, Step};
use crate::resnet::{ResNet, ResNetConfig};

/// Largest weight file that is read, in bytes.
pub const MAX_WEIGHTS_BYTES: u64 = 4 << 30;
/// Keys under which checkpoints keep the weights, tried in order.
const TOP_LEVEL_KEYS: [&str; 3] = ["state_dict", "model_state_dict", "model"];
/// How many names an error message lists before it only counts.
const MAX_LISTED: usize = 8;

/// A tensor whose shape in the file differs from the network's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeDifference {
    /// Name, as torchvision writes it.
    pub name: String,
    /// Shape in the network.
    pub network: Vec<usize>,
    /// Shape in the file.
    pub file: Vec<usize>,
}

/// Weights cannot be loaded or saved.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The file cannot be opened, read or written.
    #[error("cannot access the weight file {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is larger than [`MAX_WEIGHTS_BYTES`].
    #[error("{} has {bytes} bytes; at most {MAX_WEIGHTS_BYTES} are read", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// The file is no weight file or is damaged.
    #[error(
        "{} is damaged or no weight file ({reason}); expected are .pth or .th files of PyTorch, \
         .safetensors and .onnx: fetch it again and compare its SHA-256",
        path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the reader said, first line.
        reason: String,
    },
    /// The weights belong to another network.
    #[error(
        "{} does not fit the network{}; choose the backbone that the file was saved from",
        path.display(),
        differences(missing, shapes)
    )]
    WrongNetwork {
        /// The file.
        path: PathBuf,
        /// Tensors that the network needs and the file lacks.
        missing: Vec<String>,
        /// Tensors whose shapes differ.
        shapes: Vec<ShapeDifference>,
    },
    /// The graph of an ONNX file does not run the network's convolutions in its order, so that
    /// initialisers without names cannot be told apart.
    #[error(
        "{} does not fit the network: {reason}; choose the backbone that the file was exported \
         from, or take its .pth file",
        path.display()
    )]
    WrongGraph {
        /// The file.
        path: PathBuf,
        /// The first difference.
        reason: String,
    },
    /// A tensor holds a value that no network computes with.
    #[error("{}: tensor {name} holds an infinite value or NaN at index {index}", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// First bad value in row-major order.
        index: usize,
    },
    /// The file could not be written; what was there before is untouched.
    #[error("cannot write {}: {reason}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the writer said, first line.
        reason: String,
    },
}

/// What a loaded file was.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct WeightsReport {
    /// SHA-256 of the whole file, in hex.
    pub sha256: String,
    /// Tensors that were applied.
    pub applied: usize,
    /// Tensors of the file that the network has no place for, batch counters aside.
    pub unused: Vec<String>,
}

impl ResNet {
    /// Builds the network and fills it from a `.th`, `.pth` or `.safetensors` file, or from an
    /// `.onnx` file whose initialisers kept torchvision's names (norms not folded).
    ///
    /// # Errors
    ///
    /// [`WeightsError`]: which file, which tensors, both shapes, and what to do.
    pub fn load(
        config: &ResNetConfig,
        path: &Path,
        device: &Device,
    ) -> Result<(Self, WeightsReport), WeightsError> {
        WeightsFile::read(path, RESNET_FILES)?.into_resnet(config, device)
    }

    /// The same with as many classes as the file's last layer tells apart, for networks that were
    /// trained further on other pictures.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn load_with_its_classes(
        config: &ResNetConfig,
        path: &Path,
        device: &Device,
    ) -> Result<(Self, WeightsReport), WeightsError> {
        let file = WeightsFile::read(path, RESNET_FILES)?;
        // A last layer that is missing or out of range is named when the file is applied.
        let classes = file.rows_of("fc.weight").unwrap_or(config.classes());
        let its_own = config.clone().with_classes(classes);
        let config = its_own.as_ref().unwrap_or(config);
        file.into_resnet(config, device)
    }

    /// Saves the weights as safetensors under torchvision's names, whole or not at all.
    ///
    /// # Errors
    ///
    /// [`WeightsError::Unwritable`] if the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), WeightsError> {
        save(self, path, RESNET)
    }

    /// Names and shapes of all tensors, under torchvision's names.
    #[must_use]
    pub fn tensor_names(&self) -> BTreeMap<String, Vec<usize>> {
        wanted(self, RESNET)
            .into_iter()
            .map(|(name, tensor)| (name, tensor.shape.to_vec()))
            .collect()
    }
}

/// SHA-256 of a file, in hex.
///
/// # Errors
///
/// [`WeightsError::Io`] if it cannot be read, [`WeightsError::TooLarge`] past the limit.
pub fn file_sha256(path: &Path) -> Result<String, WeightsError> {
    let io = |source| WeightsError::Io {
        path: path.to_owned(),
        source,
    };
    let mut file = open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer).map_err(io)?;
        if read == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(&buffer[..read]);
    }
}

fn open(path: &Path) -> Result<File, WeightsError> {
    let io = |source| WeightsError::Io {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(io)?;
    let bytes = file.metadata().map_err(io)?.len();
    if bytes > MAX_WEIGHTS_BYTES {
        return Err(WeightsError::TooLarge {
            path: path.to_owned(),
            bytes,
        });
    }
    Ok(file)
}

/// Bytes as lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A weight file that was read once: its digest and its tensors, by torchvision's names.
pub(crate) struct WeightsFile {
    path: PathBuf,
    sha256: String,
    tensors: BTreeMap<String, StoredTensor>,
    /// Of an ONNX file.
    graph: Option<Graph>,
}

/// How a file keeps its tensors.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Safetensors,
    Onnx,
    PyTorch,
}

impl WeightsFile {
    /// Reads a file whose names `dialects` turn into torchvision's.
    pub(crate) fn read(path: &Path, dialects: &[Rule]) -> Result<Self, WeightsError> {
        let (sha256, tensors, graph) = match Format::of(path)? {
            Format::Safetensors => {
                let (sha256, bytes) = read_whole(path)?;
                (sha256, read_safetensors(path, bytes)?, None)
            }
            Format::Onnx => {
                let (sha256, bytes) = read_whole(path)?;
                let file =
                    OnnxFile::read(&bytes).map_err(|error| unreadable(path, &error.to_string()))?;
                (sha256, file.tensors, Some(file.graph))
            }
            Format::PyTorch => (file_sha256(path)?, read_pytorch(path)?, None),
        };
        let tensors = tensors
            .into_iter()
            .map(|(name, tensor)| (rename(&name, dialects), tensor))
            .collect();
        Ok(Self {
            path: path.to_owned(),
            sha256,
            tensors,
            graph,
        })
    }

    /// Names the convolutions of an ONNX file after a network's `steps` where any of their names is missing;
    /// other files stay as they are.
    ///
    /// # Errors
    ///
    /// [`WeightsError::WrongGraph`] where the graph runs other convolutions.
    pub(crate) fn name_convolutions(&mut self, steps: &[Step]) -> Result<(), WeightsError> {
        let named = |step: &Step| self.tensors.contains_key(&format!("{}.weight", step.name));
        let Some(graph) = self.graph.as_ref().filter(|_| !steps.iter().all(named)) else {
            return Ok(());
        };
        graph
            .name_convolutions(steps, &mut self.tensors)
            .map_err(|error| WeightsError::WrongGraph {
                path: self.path.clone(),
                reason: error.to_string(),
            })
    }

    /// Whether it holds running statistics of batch norms, that is, norms not yet folded.
    pub(crate) fn has_norms(&self) -> bool {
        self.tensors
            .keys()
            .any(|name| name.ends_with("running_var"))
    }

    /// The first dimension of a tensor.
    fn rows_of(&self, name: &str) -> Option<usize> {
        self.tensors.get(name)?.shape.to_vec().first().copied()
    }

    fn into_resnet(
        self,
        config: &ResNetConfig,
        device: &Device,
    ) -> Result<(ResNet, WeightsReport), WeightsError> {
        let mut network = config.init(device);
        let report = self.apply(&mut network, RESNET)?;
        Ok((network, report))
    }

    /// Forgets what an ONNX file holds besides parameters with names.
    fn forget_constants(&mut self) {
        if self.graph.is_some() {
            self.tensors.retain(|name, _| onnx::names_parameter(name));
        }
    }

    /// Fills `module`: all of it, or nothing and an error.
    pub(crate) fn apply<M: Module>(
        mut self,
        module: &mut M,
        names: &[Rule],
    ) -> Result<WeightsReport, WeightsError> {
        self.forget_constants();
        let Self {
            path,
            sha256,
            tensors: mut found,
            graph: _,
        } = self;
        let path = path.as_path();
        let wanted = wanted(module, names);

        let mut missing = Vec::new();
        let mut shapes = Vec::new();
        for (name, tensor) in &wanted {
            match found.get(name) {
                None => missing.push(name.clone()),
                Some(stored) if stored.shape != tensor.shape => shapes.push(ShapeDifference {
                    name: name.clone(),
                    network: tensor.shape.to_vec(),
                    file: stored.shape.to_vec(),
                }),
                Some(_) => {}
            }
        }
        if !missing.is_empty() || !shapes.is_empty() {
            // Convolutions say most about which network it is, so they come first.
            missing.sort_by_key(|name| std::cmp::Reverse(wanted[name].shape.len()));
            shapes.sort_by_key(|difference| std::cmp::Reverse(difference.network.len()));
            return Err(WeightsError::WrongNetwork {
                path: path.to_owned(),
                missing,
                shapes,
            });
        }

        let mut tensors = Vec::with_capacity(wanted.len());
        for (name, tensor) in &wanted {
            let stored = found.remove(name).expect("presence was checked above");
            tensors.push(single_precision(path, name, stored, tensor.name.clone())?);
        }
        // PyTorch's format is read from the file piece by piece: what was hashed must be what was read.
        if Format::of(path)? == Format::PyTorch && file_sha256(path)? != sha256 {
            return Err(unreadable(path, "it changed while it was read"));
        }
        let applied = tensors.len();
        let result = module.apply(tensors, None, Some(Box::new(PyTorchToBurnAdapter)), false);
        if let Some(error) = result.errors.first() {
            return Err(unreadable(path, &error.to_string()));
        }
        assert_eq!(result.applied.len(), applied, "every checked tensor fits");
        let unused = found
            .into_keys()
            .filter(|name| !name.ends_with("num_batches_tracked"))
            .collect();
        Ok(WeightsReport {
            sha256,
            applied,
            unused,
        })
    }
}

/// Saves a module's tensors as safetensors under the names that `names` gives them.
pub(crate) fn save<M: Module>(module: &M, path: &Path, names: &[Rule]) -> Result<(), WeightsError> {
    let unwritable = |reason: String| WeightsError::Unwritable {
        path: path.to_owned(),
        reason: first_line(&reason),
    };
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    if let Some(parent) = parent.filter(|p| !p.is_dir()) {
        return Err(unwritable(format!("{} is no folder", parent.display())));
    }
    let mut store = SafetensorsStore::from_file(path)
        .overwrite(true)
        // The default entries come in random order; one entry keeps equal weights equal bytes.
        .clear_metadata()
        .metadata("format", "pt")
        .with_to_adapter(BurnToPyTorchAdapter);
    for (renamed, tensor) in wanted(module, names) {
        let own = format!("^{}$", tensor.name.replace('.', r"\."));
        store = store.with_key_remapping(own, renamed);
    }
    module
        .save_into(&mut store)
        .map_err(|error| unwritable(error.to_string()))
}

/// The module's tensors by the names that files use; each still carries its own path.
pub(crate) fn wanted<M: Module>(module: &M, names: &[Rule]) -> BTreeMap<String, StoredTensor> {
    module
        .collect(None, Some(Box::new(BurnToPyTorchAdapter)), false)
        .into_iter()
        .filter(|tensor| tensor.dtype.is_float())
        .map(|tensor| (rename(&tensor.name, names), tensor))
        .collect()
}

/// Reads the bytes once and hashes these. A mapped file that is copied over ends the process, or gives
/// weights of another digest.
fn read_whole(path: &Path) -> Result<(String, Vec<u8>), WeightsError> {
    let mut bytes = Vec::new();
    let read = open(path)?.take(MAX_WEIGHTS_BYTES).read_to_end(&mut bytes);
    read.map_err(|source| WeightsError::Io {
        path: path.to_owned(),
        source,
    })?;
    Ok((hex(&Sha256::digest(&bytes)), bytes))
}

fn read_safetensors(
    path: &Path,
    bytes: Vec<u8>,
) -> Result<BTreeMap<String, StoredTensor>, WeightsError> {
    SafetensorsStore::from_bytes(Some(bytes))
        .get_all_tensors()
        .cloned()
        .map_err(|error| unreadable(path, &error.to_string()))
}

fn read_pytorch(path: &Path) -> Result<BTreeMap<String, StoredTensor>, WeightsError> {
    let open = |key: Option<&str>| {
        let store = PytorchStore::from_file(path).map_indices_contiguous(false);
        let mut store = match key {
            Some(key) => store.with_top_level_key(key),
            None => store,
        };
        store.get_all_tensors().cloned()
    };
    for key in TOP_LEVEL_KEYS {
        if let Ok(tensors) = open(Some(key))
            && !tensors.is_empty()
        {
            return Ok(tensors);
        }
    }
    let tensors = open(None).map_err(|error| unreadable(path, &error.to_string()))?;
    if tensors.is_empty() {
        return Err(unreadable(path, "it holds no tensors"));
    }
    Ok(tensors)
}

impl Format {
    /// By the name and the first bytes.
    fn of(path: &Path) -> Result<Self, WeightsError> {
        let mut start = Vec::new();
        File::open(path)
            .and_then(|file| file.take(9).read_to_end(&mut start))
            .map_err(|source| WeightsError::Io {
                path: path.to_owned(),
                source,
            })?;
        let named = |extension| path.extension().is_some_and(|e| e == extension);
        // A safetensors file starts with the length of its header, which starts with a brace.
        Ok(if named("safetensors") || start.get(8) == Some(&b'{') {
            Self::Safetensors
        } else if named("onnx") || onnx::starts_like_one(&start) {
            Self::Onnx
        } else {
            Self::PyTorch
        })
    }
}

fn single_precision(
    path: &Path,
    name: &str,
    stored: StoredTensor,
    own_name: String,
) -> Result<StoredTensor, WeightsError> {
    let data = bridge::into_data(stored).map_err(|error| unreadable(path, &error.to_string()))?;
    let data = data.convert_dtype(DType::F32);
    let values = data
        .as_slice::<f32>()
        .map_err(|error| unreadable(path, &format!("{error:?}")))?;
    if let Some(index) = values.iter().position(|value| !value.is_finite()) {
        return Err(WeightsError::NotFinite {
            path: path.to_owned(),
            name: name.to_owned(),
            index,
        });
    }
    Ok(bridge::from_data(data, own_name, None))
}

fn unreadable(path: &Path, reason: &str) -> WeightsError {
    WeightsError::Unreadable {
        path: path.to_owned(),
        reason: first_line(reason),
    }
}

fn first_line(text: &str) -> String {
    text.trim()
        .lines()
        .next()
        .unwrap_or("no reason given")
        .to_owned()
}

fn differences(missing: &[String], shapes: &[ShapeDifference]) -> String {
    let mut text = String::new();
    for difference in shapes.iter().take(MAX_LISTED) {
        let ShapeDifference {
            name,
            network,
            file,
        } = difference;
        let _ = write!(
            text,
            "; {name} is {network:?} in the network and {file:?} in the file"
        );
    }
    if shapes.len() > MAX_LISTED {
        let _ = write!(text, "; {} more shapes differ", shapes.len() - MAX_LISTED);
    }
    if !missing.is_empty() {
        let listed: Vec<&str> = missing
            .iter()
            .take(MAX_LISTED)
            .map(String::as_str)
            .collect();
        let _ = write!(text, "; the file lacks {}", listed.join(", "));
        if missing.len() > MAX_LISTED {
            let _ = write!(text, " and {} more", missing.len() - MAX_LISTED);
        }
    }
    text
}
