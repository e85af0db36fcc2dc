//! Names of tensors: how our modules call them and how files call them.

/// Rewrites a piece of a name; `from` matches only at the start of a name or after a dot.
pub(crate) struct Rule {
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
}

const fn rule(from: &'static str, to: &'static str) -> Rule {
    Rule { from, to }
}

/// From a module's path to torchvision's name.
pub(crate) const RESNET: &[Rule] = &[
    rule("stem.", ""),
    rule("layers.0.", "layer1."),
    rule("layers.1.", "layer2."),
    rule("layers.2.", "layer3."),
    rule("layers.3.", "layer4."),
    rule("conv1.norm.", "bn1."),
    rule("conv2.norm.", "bn2."),
    rule("conv3.norm.", "bn3."),
    rule("downsample.norm.", "downsample.1."),
    rule("downsample.weight", "downsample.0.weight"),
    rule("downsample.bias", "downsample.0.bias"),
];

/// From the names that some files use to torchvision's.
pub(crate) const RESNET_FILES: &[Rule] = &[
    rule("module.", ""),
    rule("linear.", "fc."),
    rule("shortcut.", "downsample."),
];

/// From a module's path to the official name.
pub(crate) const YOLOX: &[Rule] = &[
    rule("stem.", "backbone.backbone.stem.conv."),
    rule("dark2.", "backbone.backbone.dark2."),
    rule("dark3.", "backbone.backbone.dark3."),
    rule("dark4.", "backbone.backbone.dark4."),
    rule("dark5.", "backbone.backbone.dark5."),
    rule("dark5.csp.", "dark5.2."),
    rule("csp.", "1."),
    rule("down.", "0."),
    rule("spp.", "1."),
    rule("neck.c3_p4.", "backbone.C3_p4."),
    rule("neck.c3_p3.", "backbone.C3_p3."),
    rule("neck.c3_n3.", "backbone.C3_n3."),
    rule("neck.c3_n4.", "backbone.C3_n4."),
    rule("neck.", "backbone."),
    rule("conv.norm.", "bn."),
];

/// From the names that some files use to the official ones.
pub(crate) const YOLOX_FILES: &[Rule] = &[rule("module.", "")];

/// Applies every rule in turn, each at its first place in the name.
pub(crate) fn rename(name: &str, rules: &[Rule]) -> String {
    let mut name = name.to_owned();
    for Rule { from, to } in rules {
        if name.starts_with(from) {
            name.replace_range(..from.len(), to);
        } else if let Some(dot) = name.find(&format!(".{from}")) {
            name.replace_range(dot + 1..=dot + from.len(), to);
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_paths_become_torchvision_names() {
        let check = |path, expected| assert_eq!(rename(path, RESNET), expected);
        check("stem.conv1.weight", "conv1.weight");
        check("stem.conv1.norm.running_mean", "bn1.running_mean");
        check("layers.0.2.conv2.norm.bias", "layer1.2.bn2.bias");
        check(
            "layers.3.0.downsample.weight",
            "layer4.0.downsample.0.weight",
        );
        check(
            "layers.3.0.downsample.norm.weight",
            "layer4.0.downsample.1.weight",
        );
        check("layers.1.10.conv3.weight", "layer2.10.conv3.weight");
        check("fc.bias", "fc.bias");
    }

    #[test]
    fn detector_paths_become_official_names() {
        let check = |path, expected| assert_eq!(rename(path, YOLOX), expected);
        check(
            "stem.conv.weight",
            "backbone.backbone.stem.conv.conv.weight",
        );
        check(
            "dark2.down.dconv.conv.bias",
            "backbone.backbone.dark2.0.dconv.conv.bias",
        );
        check(
            "dark5.spp.conv1.conv.norm.bias",
            "backbone.backbone.dark5.1.conv1.bn.bias",
        );
        check(
            "dark5.csp.m.0.conv2.conv.weight",
            "backbone.backbone.dark5.2.m.0.conv2.conv.weight",
        );
        check(
            "dark4.csp.conv3.conv.weight",
            "backbone.backbone.dark4.1.conv3.conv.weight",
        );
        check(
            "neck.c3_p4.m.0.conv1.conv.weight",
            "backbone.C3_p4.m.0.conv1.conv.weight",
        );
        check(
            "neck.bu_conv2.conv.norm.weight",
            "backbone.bu_conv2.bn.weight",
        );
        check("head.stems.1.conv.weight", "head.stems.1.conv.weight");
        check(
            "head.cls_convs.0.1.dconv.conv.weight",
            "head.cls_convs.0.1.dconv.conv.weight",
        );
    }

    #[test]
    fn file_dialects_become_torchvision_names() {
        let check = |path, expected| assert_eq!(rename(path, RESNET_FILES), expected);
        check("module.linear.weight", "fc.weight");
        check(
            "module.layer2.0.shortcut.0.weight",
            "layer2.0.downsample.0.weight",
        );
        check("layer2.0.conv1.weight", "layer2.0.conv1.weight");
    }
}
