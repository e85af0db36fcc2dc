use std::borrow::Cow;
use std::collections::BTreeMap;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::state::{HostTensor, ModuleState};

/// Largest bank or checkpoint that is read, in bytes.
pub const MAX_ARCHIVE_BYTES: usize = 1 << 30;

/// Why a bank or checkpoint cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// More bytes than allowed.
    #[error("{found} bytes are more than the {MAX_ARCHIVE_BYTES} allowed")]
    TooLong {
        /// Bytes found.
        found: usize,
    },
    /// Not a safetensors container.
    #[error("the container is damaged or of another kind: {0}")]
    Container(#[from] safetensors::SafeTensorError),
    /// The container holds something else.
    #[error("the container holds {found:?}, expected {expected:?}")]
    Schema {
        /// Schema found.
        found: String,
        /// Schema expected.
        expected: &'static str,
    },
    /// The manifest is damaged.
    #[error("the manifest is damaged: {0}")]
    Manifest(#[from] serde_json::Error),
    /// An entry is missing.
    #[error("entry {name} is missing")]
    Missing {
        /// Name of the entry.
        name: String,
    },
}

/// A safetensors container with a JSON manifest: the form of banks and checkpoints, readable
/// with any safetensors tool.
#[derive(Debug, Clone)]
pub(crate) struct Archive {
    schema: &'static str,
    manifest: String,
    floats: ModuleState,
    blobs: BTreeMap<String, Vec<u8>>,
}

impl Archive {
    pub(crate) fn new(
        schema: &'static str,
        manifest: &impl Serialize,
    ) -> Result<Self, ArchiveError> {
        Ok(Self {
            schema,
            manifest: serde_json::to_string(manifest)?,
            floats: BTreeMap::new(),
            blobs: BTreeMap::new(),
        })
    }

    pub(crate) fn insert_state(&mut self, prefix: &str, state: &ModuleState) {
        for (path, tensor) in state {
            self.floats
                .insert(format!("{prefix}.{path}"), tensor.clone());
        }
    }

    pub(crate) fn insert_bytes(&mut self, name: &str, bytes: Vec<u8>) {
        self.blobs.insert(name.to_owned(), bytes);
    }

    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, ArchiveError> {
        // One entry only: the writer's map has no stable order, and equal runs give equal bytes.
        let metadata = [(self.schema.to_owned(), self.manifest.clone())];
        let floats = self.floats.iter().map(|(name, tensor)| {
            let bytes: Vec<u8> = tensor.values.iter().flat_map(|v| v.to_le_bytes()).collect();
            (
                name.clone(),
                Entry {
                    dtype: Dtype::F32,
                    shape: tensor.shape.clone(),
                    bytes: Cow::Owned(bytes),
                },
            )
        });
        let blobs = self.blobs.iter().map(|(name, bytes)| {
            (
                name.clone(),
                Entry {
                    dtype: Dtype::U8,
                    shape: vec![bytes.len()],
                    bytes: Cow::Borrowed(bytes.as_slice()),
                },
            )
        });
        let entries: Vec<(String, Entry<'_>)> = floats.chain(blobs).collect();
        Ok(safetensors::serialize(
            entries,
            Some(metadata.into_iter().collect()),
        )?)
    }

    pub(crate) fn from_bytes(schema: &'static str, bytes: &[u8]) -> Result<Self, ArchiveError> {
        if bytes.len() > MAX_ARCHIVE_BYTES {
            return Err(ArchiveError::TooLong { found: bytes.len() });
        }
        let (_, metadata) = SafeTensors::read_metadata(bytes)?;
        let metadata = metadata.metadata().clone().unwrap_or_default();
        let Some(manifest) = metadata.get(schema).cloned() else {
            let mut found: Vec<String> = metadata.into_keys().collect();
            found.sort();
            return Err(ArchiveError::Schema {
                found: found.join(", "),
                expected: schema,
            });
        };
        let mut archive = Self {
            schema,
            manifest,
            floats: BTreeMap::new(),
            blobs: BTreeMap::new(),
        };
        for (name, view) in SafeTensors::deserialize(bytes)?.tensors() {
            archive.insert_view(name, &view);
        }
        Ok(archive)
    }

    fn insert_view(&mut self, name: String, view: &TensorView<'_>) {
        if view.dtype() == Dtype::F32 {
            let values = view
                .data()
                .as_chunks::<4>()
                .0
                .iter()
                .map(|bytes| f32::from_le_bytes(*bytes))
                .collect();
            let shape = view.shape().to_vec();
            self.floats.insert(name, HostTensor { shape, values });
        } else {
            self.blobs.insert(name, view.data().to_vec());
        }
    }

    pub(crate) fn manifest<T: DeserializeOwned>(&self) -> Result<T, ArchiveError> {
        Ok(serde_json::from_str(&self.manifest)?)
    }

    pub(crate) fn state(&self, prefix: &str) -> ModuleState {
        let prefix = format!("{prefix}.");
        self.floats
            .iter()
            .filter_map(|(name, tensor)| {
                let path = name.strip_prefix(&prefix)?;
                Some((path.to_owned(), tensor.clone()))
            })
            .collect()
    }

    pub(crate) fn bytes(&self, name: &str) -> Result<&[u8], ArchiveError> {
        self.blobs
            .get(name)
            .map(Vec::as_slice)
            .ok_or_else(|| ArchiveError::Missing {
                name: name.to_owned(),
            })
    }
}

struct Entry<'a> {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Cow<'a, [u8]>,
}

impl safetensors::View for Entry<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}
