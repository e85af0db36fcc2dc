use thiserror::Error;

/// Why a configuration cannot become a unit.
#[derive(Debug, Error, Clone, PartialEq)]
#[non_exhaustive]
pub enum ConfigError {
    /// A size is zero.
    #[error("{field} is zero; it must be at least 1")]
    Zero {
        /// The field of the configuration.
        field: &'static str,
    },
    /// The step is not a positive finite number.
    #[error("step is {found}; it must be positive and finite")]
    Step {
        /// The value found.
        found: f32,
    },
    /// Step factors and latent channels differ in number.
    #[error("{found} step factors for {expected} latent channels")]
    StepFactors {
        /// Factors found.
        found: usize,
        /// Channels of the latent.
        expected: usize,
    },
    /// The anchors of a continuous unit do not rise from a positive factor.
    #[error("anchors are {found:?}; there must be one at least, positive and rising")]
    Anchors {
        /// Anchors found.
        found: Vec<f32>,
    },
    /// The groups of a convolution do not divide its channels.
    #[error("{groups} groups do not divide {channels} channels in and {hidden} out")]
    Groups {
        /// Groups asked for.
        groups: usize,
        /// Channels of the activation.
        channels: usize,
        /// Channels after the convolution.
        hidden: usize,
    },
    /// The heads of an attention do not divide its channels.
    #[error("{heads} heads of attention do not divide {hidden} channels")]
    Heads {
        /// Heads asked for.
        heads: usize,
        /// Channels they share.
        hidden: usize,
    },
    /// The tensors of a cut do not add up to the unit's channels.
    #[error("the tensors of the cut have {found} {field} together, the unit has {expected}")]
    Scales {
        /// Which channels.
        field: &'static str,
        /// Those of all tensors.
        found: usize,
        /// Those of the unit.
        expected: usize,
    },
    /// The stride leaves nothing of the activation.
    #[error("stride {stride} does not fit an activation of {height} x {width}")]
    Stride {
        /// The stride asked for.
        stride: usize,
        /// Height of the activation.
        height: usize,
        /// Width of the activation.
        width: usize,
    },
    /// An encoder of pictures gives another size than the activation's.
    #[error(
        "an encoder with a stride of {stride} makes nothing of {0}x{1} out of a picture of {2}x{3}",
        activation[0], activation[1], picture[0], picture[1]
    )]
    Picture {
        /// Height and width of the picture.
        picture: [usize; 2],
        /// Strides of the encoder's convolutions together.
        stride: usize,
        /// Height and width of the activation.
        activation: [usize; 2],
    },
    /// The unit encoder takes pictures, and the cache has none for it.
    #[error(
        "the unit encoder takes pictures of {expected:?}, the cache keeps {}; build it with such pictures",
        found.map_or_else(|| "none".to_owned(), |shape| format!("those of {shape:?}"))
    )]
    Pictures {
        /// Channels, rows and columns that the encoder takes.
        expected: [usize; 3],
        /// Those of the cache.
        found: Option<[usize; 3]>,
    },
    /// Encoder and decoder of Entropic Student go together.
    #[error("a student's encoder and decoder only fit each other")]
    Student,
    /// A size is beyond what a unit may have.
    #[error("{field}: {found}, allowed are {allowed}")]
    TooLarge {
        /// What there is too much of.
        field: &'static str,
        /// How much.
        found: u64,
        /// Its limit.
        allowed: u64,
    },
    /// The latent is larger than a frame may hold.
    #[error("the latent cannot be coded: {0}")]
    Latent(#[from] split_tensor::ShapeError),
}

/// Why a saved state does not fit a module.
#[derive(Debug, Error, Clone, PartialEq)]
#[non_exhaustive]
pub enum StateError {
    /// The saved state lacks a tensor of the module.
    #[error("tensor {path} is missing from the saved state; was it written for another unit?")]
    Missing {
        /// Path of the tensor in the module.
        path: String,
    },
    /// The saved state has a tensor that the module lacks.
    #[error("tensor {path} does not belong to this unit; was it written for another unit?")]
    Unexpected {
        /// Path of the tensor in the saved state.
        path: String,
    },
    /// A tensor has another shape.
    #[error("tensor {path} has shape {found:?}, the unit needs {expected:?}")]
    Shape {
        /// Path of the tensor.
        path: String,
        /// Shape in the module.
        expected: Vec<usize>,
        /// Shape in the saved state.
        found: Vec<usize>,
    },
}
