//! The sizes of YOLOX.

use crate::resnet::{ConfigError, MAX_CLASSES};

/// The shape of a YOLOX detector.
///
/// ```
/// use split_backbone::YoloxConfig;
///
/// let config = YoloxConfig::named("yolox_nano")?;
/// assert_eq!(config.classes(), 80);
/// # Ok::<(), split_backbone::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct YoloxConfig {
    base_channels: usize,
    base_depth: usize,
    depthwise: bool,
    classes: usize,
}

impl YoloxConfig {
    /// The names that [`YoloxConfig::named`] knows.
    pub const NAMES: [&'static str; 6] = [
        "yolox_nano",
        "yolox_tiny",
        "yolox_s",
        "yolox_m",
        "yolox_l",
        "yolox_x",
    ];

    /// Both sides of an input are multiples of this.
    pub const SIDE_MULTIPLE: usize = 32;

    /// A detector by its official name, for the 80 classes of COCO.
    ///
    /// # Errors
    ///
    /// [`ConfigError::UnknownDetector`] with the list of known names.
    pub fn named(name: &str) -> Result<Self, ConfigError> {
        let new = |base_channels, base_depth, depthwise| Self {
            base_channels,
            base_depth,
            depthwise,
            classes: 80,
        };
        Ok(match name {
            "yolox_nano" => new(16, 1, true),
            "yolox_tiny" => new(24, 1, false),
            "yolox_s" => new(32, 1, false),
            "yolox_m" => new(48, 2, false),
            "yolox_l" => new(64, 3, false),
            "yolox_x" => new(80, 4, false),
            other => {
                return Err(ConfigError::UnknownDetector {
                    name: other.to_owned(),
                });
            }
        })
    }

    /// The same detector with another number of classes.
    ///
    /// # Errors
    ///
    /// [`ConfigError::OutOfRange`] for none or more than [`MAX_CLASSES`].
    pub fn with_classes(self, classes: usize) -> Result<Self, ConfigError> {
        if (1..=MAX_CLASSES).contains(&classes) {
            return Ok(Self { classes, ..self });
        }
        Err(ConfigError::OutOfRange {
            what: "classes",
            found: classes,
            min: 1,
            max: MAX_CLASSES,
        })
    }

    /// The same detector with another width.
    ///
    /// # Errors
    ///
    /// [`ConfigError::OutOfRange`] for an odd number, none, or more than 1024.
    pub fn with_base_channels(self, base_channels: usize) -> Result<Self, ConfigError> {
        // Layers halve the width once.
        for (what, found, min, max) in [
            ("base channels", base_channels, 2, 1024),
            ("base channels % 2", base_channels % 2, 0, 0),
        ] {
            if !(min..=max).contains(&found) {
                return Err(ConfigError::OutOfRange {
                    what,
                    found,
                    min,
                    max,
                });
            }
        }
        Ok(Self {
            base_channels,
            ..self
        })
    }

    /// Channels of the stem; every stage doubles them.
    #[must_use]
    pub fn base_channels(&self) -> usize {
        self.base_channels
    }

    /// Bottlenecks in the shallowest stage.
    #[must_use]
    pub fn base_depth(&self) -> usize {
        self.base_depth
    }

    /// Whether 3x3 convolutions are depthwise followed by pointwise.
    #[must_use]
    pub fn depthwise(&self) -> bool {
        self.depthwise
    }

    /// Number of classes.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.classes
    }
}
