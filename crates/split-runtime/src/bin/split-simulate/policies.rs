//! The policies that are compared.

use split_runtime::{DynamicSplit, Fixed, Menu, Neurosurgeon, Own, OwnConfig, Policy, Throughput};

/// Name of our policy in records.
pub(crate) const OWN: &str = "own";

/// Makes a policy that has seen nothing yet.
pub(crate) type MakePolicy = dyn Fn() -> Box<dyn Policy> + Sync;

/// Ours with its defaults, those of the literature, and each entry of the menu alone.
pub(crate) fn all(menu: &Menu) -> Vec<(String, Box<MakePolicy>)> {
    all_with(menu, &OwnConfig::default())
}

/// The same with other settings of ours.
pub(crate) fn all_with(menu: &Menu, own: &OwnConfig) -> Vec<(String, Box<MakePolicy>)> {
    let own = own.clone();
    let mut policies: Vec<(String, Box<MakePolicy>)> = vec![
        (
            OWN.to_owned(),
            Box::new(move || Box::new(Own::new(own.clone()))),
        ),
        (
            "throughput".to_owned(),
            Box::new(|| Box::new(Throughput::default())),
        ),
        (
            "neurosurgeon".to_owned(),
            Box::new(|| Box::new(Neurosurgeon::default())),
        ),
        (
            "dynamic-split".to_owned(),
            Box::new(|| Box::new(DynamicSplit::default())),
        ),
    ];
    for index in 0..menu.entries().len() {
        let name = format!("fixed-{}", menu.label(index));
        policies.push((name, Box::new(move || Box::new(Fixed(index)))));
    }
    policies
}
