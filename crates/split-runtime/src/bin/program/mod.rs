//! What both programs need: settings, models in folders, backends, lines of output.

pub(crate) mod backend;
pub(crate) mod folder;
pub(crate) mod out;
pub(crate) mod settings;
pub(crate) mod signals;
