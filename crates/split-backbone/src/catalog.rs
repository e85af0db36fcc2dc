//! Every backbone by its name.

use crate::graph::Graph;
use crate::resnet::{ConfigError, ResNetConfig};
use crate::yolox::{YoloxConfig, YoloxPoint};

/// Longest side of an input that a graph is made for, in pixels.
pub const MAX_INPUT_SIDE: usize = 1 << 14;

/// The shape of any backbone that can be cut.
///
/// ```
/// use split_backbone::BackboneConfig;
///
/// let config = BackboneConfig::named("yolox_nano")?;
/// let graph = config.graph(config.default_input())?;
/// assert_eq!(graph.parameters(), 904_463);
/// assert_eq!(config.split_points(), ["stem", "dark2", "dark3", "dark5"]);
/// # Ok::<(), split_backbone::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackboneConfig {
    /// A classifier.
    ResNet(ResNetConfig),
    /// A detector.
    Yolox(YoloxConfig),
}

impl BackboneConfig {
    /// A backbone by its customary name.
    ///
    /// # Errors
    ///
    /// [`ConfigError::UnknownBackbone`] with all known names.
    pub fn named(name: &str) -> Result<Self, ConfigError> {
        if let Ok(config) = ResNetConfig::named(name) {
            return Ok(Self::ResNet(config));
        }
        YoloxConfig::named(name)
            .map(Self::Yolox)
            .map_err(|_: ConfigError| ConfigError::UnknownBackbone {
                name: name.to_owned(),
            })
    }

    /// All known names.
    #[must_use]
    pub fn names() -> Vec<&'static str> {
        [&ResNetConfig::NAMES[..], &YoloxConfig::NAMES[..]].concat()
    }

    /// Height and width in pixels that the published weights were trained for.
    #[must_use]
    pub fn default_input(&self) -> (usize, usize) {
        match self {
            Self::ResNet(config) => {
                let side = usize::try_from(config.default_side()).unwrap_or(usize::MAX);
                (side, side)
            }
            Self::Yolox(_) => (416, 416),
        }
    }

    /// The graph for pictures of the given height and width.
    ///
    /// # Errors
    ///
    /// [`ConfigError::OutOfRange`] for a side of 0, above [`MAX_INPUT_SIDE`], or that a detector
    /// cannot take.
    pub fn graph(&self, (height, width): (usize, usize)) -> Result<Graph, ConfigError> {
        let check = |what, found, min, max| {
            if (min..=max).contains(&found) {
                return Ok(());
            }
            Err(ConfigError::OutOfRange {
                what,
                found,
                min,
                max,
            })
        };
        for side in [height, width] {
            check("input side", side, 1, MAX_INPUT_SIDE)?;
            if matches!(self, Self::Yolox(_)) {
                let rest = side % YoloxConfig::SIDE_MULTIPLE;
                check("input side % 32", rest, 0, 0)?;
            }
        }
        Ok(match self {
            Self::ResNet(config) => config.graph(height, width),
            Self::Yolox(config) => config.graph(height, width),
        })
    }

    /// Names of the cuts that one tensor crosses and that [`cut`](crate::cut()) or
    /// [`cut_yolox`](crate::cut_yolox) make, as the graph's cuts are called.
    #[must_use]
    pub fn split_points(&self) -> Vec<String> {
        match self {
            Self::ResNet(config) => {
                let points = config.split_points();
                points.iter().map(ToString::to_string).collect()
            }
            Self::Yolox(_) => YoloxPoint::ALL.iter().map(ToString::to_string).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_graph_with_its_split_points() {
        for name in BackboneConfig::names() {
            let config = BackboneConfig::named(name).unwrap();
            let graph = config.graph(config.default_input()).unwrap();
            let cuts = graph.cuts();
            for point in config.split_points() {
                let cut = cuts.iter().find(|cut| cut.after == point).unwrap();
                let tensors = if point == "dark5" { 3 } else { 1 };
                assert_eq!(cut.live.len(), tensors, "{name} {point}");
            }
        }
    }

    #[test]
    fn names_and_sides_out_of_range_are_refused() {
        let error = BackboneConfig::named("alexnet").unwrap_err().to_string();
        assert!(error.contains("resnet56") && error.contains("yolox_nano"));
        let refused =
            |name: &str, input| BackboneConfig::named(name).unwrap().graph(input).is_err();
        assert!(refused("resnet20", (0, 32)));
        assert!(refused("resnet20", (32, MAX_INPUT_SIDE + 1)));
        assert!(refused("yolox_nano", (416, 400)));
        assert!(!refused("resnet20", (1, 1)));
    }
}
