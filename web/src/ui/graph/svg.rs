//! Draws a laid-out graph. Colours come from the style sheet's state classes.

use std::fmt::Write as _;

use maud::{Markup, html};

use super::layout::{Layout, Measures, lay_out};
use crate::ui::text::Look;

/// Boxes drawn; beyond it a picture tells nothing.
const BOXES_MAX: usize = 300;
/// Characters of a name that fit a box.
const NAME_CHARS: usize = 21;
/// A picture up to this wide is shrunk to the window rather than scrolled.
const FIT_WIDTH: f64 = 1_900.0;
/// A picture up to this wide is never stretched.
const SMALL_WIDTH: f64 = 720.0;
const MARGIN: f64 = 8.0;
const MEASURES: Measures = Measures { width: 200.0, height: 44.0, gap_x: 56.0, gap_y: 16.0 };

/// One task in the picture.
#[derive(Debug, Clone)]
pub(crate) struct Box {
    pub(crate) name: String,
    /// Second line.
    pub(crate) note: String,
    pub(crate) look: Look,
    pub(crate) address: Option<String>,
}

/// The graph of `boxes` and `edges` (indexes into them), with a text for readers that see no picture.
pub(crate) fn draw(boxes: &[Box], edges: &[(usize, usize)]) -> Markup {
    if boxes.len() > BOXES_MAX {
        return html! {
            p.empty { "A graph of " (boxes.len()) " tasks is not drawn (more than " (BOXES_MAX) ")." }
        };
    }
    let layout = lay_out(boxes.len(), edges, MEASURES);
    let (width, height) = (layout.width + 2.0 * MARGIN, layout.height + 2.0 * MARGIN);
    html! {
        div.graph #graph data-scroll tabindex="0" role="group" aria-label="Graph of the tasks" {
            svg.fit[width <= FIT_WIDTH].small[width <= SMALL_WIDTH] width=(round(width)) height=(round(height))
                viewBox={ "0 0 " (round(width)) " " (round(height)) } {
                @for points in &layout.edges { path.edge d=(curve(points)) {} }
                @for (at, item) in boxes.iter().enumerate() { (node(item, &layout, at)) }
            }
        }
    }
}

fn node(item: &Box, layout: &Layout, at: usize) -> Markup {
    let (x, y) = layout.nodes[at];
    let (x, y) = (x + MARGIN, y + MARGIN);
    let name = shorten(&item.name);
    let shape = html! {
        g class={ "node " (item.look.class) } {
            title { (item.name) ": " (item.look.name) }
            rect.box x=(round(x)) y=(round(y)) width=(MEASURES.width) height=(MEASURES.height) rx="6" {}
            rect.strip x=(round(x)) y=(round(y)) width="26" height=(MEASURES.height) rx="6" {}
            text.sign x=(round(x + 13.0)) y=(round(y + MEASURES.height / 2.0 + 5.0)) { (item.look.sign) }
            text.name x=(round(x + 34.0)) y=(round(y + 18.5)) { (name) }
            text.note x=(round(x + 34.0)) y=(round(y + 34.5)) { (shorten(&item.note)) }
        }
    };
    match &item.address {
        Some(address) => html! { a href=(address) { (shape) } },
        None => shape,
    }
}

/// Straight along boxes, curved between columns.
fn curve(points: &[(f64, f64)]) -> String {
    let mut path = String::new();
    for (at, &(x, y)) in points.iter().enumerate() {
        let (x, y) = (x + MARGIN, y + MARGIN);
        let _infallible = if at == 0 {
            write!(path, "M{} {}", round(x), round(y))
        } else if at % 2 == 0 {
            write!(path, "L{} {}", round(x), round(y))
        } else {
            let (from_x, from_y) = points[at - 1];
            let (from_x, from_y) = (from_x + MARGIN, from_y + MARGIN);
            let middle = f64::midpoint(from_x, x);
            write!(
                path,
                "C{m} {} {m} {} {} {}",
                round(from_y),
                round(y),
                round(x),
                round(y),
                m = round(middle)
            )
        };
    }
    path
}

fn shorten(text: &str) -> String {
    if text.chars().count() <= NAME_CHARS {
        return text.to_owned();
    }
    let mut out: String = text.chars().take(NAME_CHARS - 1).collect();
    out.push('…');
    out
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
