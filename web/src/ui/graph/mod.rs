//! The picture of a DAG: layered layout, drawn as SVG. Knows nothing of the store.

mod layout;
mod svg;

pub(crate) use layout::topological;
pub(crate) use svg::{Box as GraphBox, draw};
