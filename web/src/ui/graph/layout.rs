//! Layered layout, left to right: a node's layer is its longest distance from a root, layers are
//! ordered by the mean position of their neighbours, long edges bend round the boxes between.

/// Sweeps over the layers; the order is stable after a few.
const SWEEPS: usize = 6;

/// Size of what is laid out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measures {
    pub(crate) width: f64,
    pub(crate) height: f64,
    pub(crate) gap_x: f64,
    pub(crate) gap_y: f64,
}

/// Where everything is.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Layout {
    /// Upper left corner of each node.
    pub(crate) nodes: Vec<(f64, f64)>,
    /// Points that each edge runs through, both ends included.
    pub(crate) edges: Vec<Vec<(f64, f64)>>,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

/// Nodes so that every edge points forward; those on a cycle come last, in their own order.
pub(crate) fn topological(count: usize, edges: &[(usize, usize)]) -> Vec<usize> {
    let mut waits = vec![0_usize; count];
    let mut next = vec![Vec::new(); count];
    for &(from, to) in edges {
        waits[to] += 1;
        next[from].push(to);
    }
    let mut order: Vec<usize> = (0..count).filter(|n| waits[*n] == 0).collect();
    let mut at = 0;
    while at < order.len() {
        let node = order[at];
        at += 1;
        for &to in &next[node] {
            waits[to] -= 1;
            if waits[to] == 0 {
                order.push(to);
            }
        }
    }
    order.extend((0..count).filter(|n| waits[*n] > 0));
    order
}

/// Nodes, and bends of edges that cross a layer, in columns.
struct Columns {
    /// Members of each layer, top to bottom. Numbers from `count` on are bends.
    layers: Vec<Vec<usize>>,
    before: Vec<Vec<usize>>,
    after: Vec<Vec<usize>>,
    /// The bends of each edge, from source to target.
    bends: Vec<Vec<usize>>,
}

pub(crate) fn lay_out(count: usize, edges: &[(usize, usize)], m: Measures) -> Layout {
    if count == 0 {
        return Layout::default();
    }
    let mut columns = columns(count, edges);
    order(&mut columns);
    let heights: Vec<f64> =
        (0..columns.before.len()).map(|n| if n < count { m.height } else { 0.0 }).collect();
    let y = vertical(&columns, &heights, m.gap_y);
    let mut x = vec![0.0; columns.before.len()];
    for (layer, members) in columns.layers.iter().enumerate() {
        for &member in members {
            x[member] = to_f64(layer) * (m.width + m.gap_x);
        }
    }
    let edges = edges.iter().enumerate().map(|(at, &(from, to))| {
        let mut points = vec![(x[from] + m.width, y[from])];
        for &bend in &columns.bends[at] {
            points.push((x[bend], y[bend]));
            points.push((x[bend] + m.width, y[bend]));
        }
        points.push((x[to], y[to]));
        points
    });
    let bottom = (0..y.len()).map(|n| y[n] + heights[n] / 2.0).fold(0.0, f64::max);
    Layout {
        edges: edges.collect(),
        nodes: (0..count).map(|n| (x[n], y[n] - m.height / 2.0)).collect(),
        width: to_f64(columns.layers.len()) * (m.width + m.gap_x) - m.gap_x,
        height: bottom,
    }
}

fn columns(count: usize, edges: &[(usize, usize)]) -> Columns {
    let order = topological(count, edges);
    let mut layer = vec![0_usize; count];
    for &node in &order {
        for &(from, to) in edges.iter().filter(|(from, to)| *from == node && from != to) {
            layer[to] = layer[to].max((layer[from] + 1).min(count - 1));
        }
    }
    let mut layers = vec![Vec::new(); layer.iter().max().map_or(1, |deepest| deepest + 1)];
    for &node in &order {
        layers[layer[node]].push(node);
    }
    let mut columns = Columns {
        layers,
        before: vec![Vec::new(); count],
        after: vec![Vec::new(); count],
        bends: Vec::with_capacity(edges.len()),
    };
    for &(from, to) in edges {
        let mut last = from;
        let mut bends = Vec::new();
        for between in (layer[from] + 1)..layer[to].max(layer[from] + 1) {
            let bend = columns.before.len();
            columns.before.push(Vec::new());
            columns.after.push(Vec::new());
            columns.layers[between].push(bend);
            connect(&mut columns, last, bend);
            bends.push(bend);
            last = bend;
        }
        connect(&mut columns, last, to);
        columns.bends.push(bends);
    }
    columns
}

fn connect(columns: &mut Columns, from: usize, to: usize) {
    columns.after[from].push(to);
    columns.before[to].push(from);
}

/// Sorts each layer by the mean place of its neighbours, forwards and backwards in turn.
fn order(columns: &mut Columns) {
    let mut place = vec![0.0; columns.before.len()];
    let settle = |members: &[usize], place: &mut Vec<f64>| {
        for (at, &member) in members.iter().enumerate() {
            place[member] = to_f64(at) - to_f64(members.len()) / 2.0;
        }
    };
    for members in &columns.layers {
        settle(members, &mut place);
    }
    let depth = columns.layers.len();
    for sweep in 0..SWEEPS {
        for step in 0..depth {
            let (at, sides) = if sweep % 2 == 0 {
                (step, &columns.before)
            } else {
                (depth - 1 - step, &columns.after)
            };
            let mut members = std::mem::take(&mut columns.layers[at]);
            members.sort_by(|a, b| {
                let mean = |n: usize| mean(&sides[n], &place).unwrap_or(place[n]);
                mean(*a).total_cmp(&mean(*b))
            });
            settle(&members, &mut place);
            columns.layers[at] = members;
        }
    }
}

/// Centres of nodes: near the mean of their neighbours, never closer than the gap.
fn vertical(columns: &Columns, heights: &[f64], gap: f64) -> Vec<f64> {
    let mut y = vec![0.0; heights.len()];
    for members in &columns.layers {
        let wanted = vec![0.0; members.len()];
        spread(members, &wanted, heights, gap, &mut y);
    }
    let depth = columns.layers.len();
    for sweep in 0..SWEEPS {
        for step in 0..depth {
            let (at, sides) = if sweep % 2 == 0 {
                (step, &columns.before)
            } else {
                (depth - 1 - step, &columns.after)
            };
            let members = &columns.layers[at];
            let wanted: Vec<f64> =
                members.iter().map(|n| mean(&sides[*n], &y).unwrap_or(y[*n])).collect();
            spread(members, &wanted, heights, gap, &mut y);
        }
    }
    let top = (0..y.len()).map(|n| y[n] - heights[n] / 2.0).fold(f64::INFINITY, f64::min);
    y.iter().map(|centre| centre - top).collect()
}

/// Places members at `wanted` as far as order and gap allow, then moves all of them by what they
/// miss on average.
fn spread(members: &[usize], wanted: &[f64], heights: &[f64], gap: f64, y: &mut [f64]) {
    let mut free = f64::NEG_INFINITY;
    for (&member, &want) in members.iter().zip(wanted) {
        y[member] = want.max(free + heights[member] / 2.0);
        free = y[member] + heights[member] / 2.0 + gap;
    }
    let missed: f64 = members.iter().zip(wanted).map(|(&n, &want)| want - y[n]).sum();
    let shift = missed / to_f64(members.len().max(1));
    for &member in members {
        y[member] += shift;
    }
}

fn mean(of: &[usize], place: &[f64]) -> Option<f64> {
    (!of.is_empty()).then(|| of.iter().map(|n| place[*n]).sum::<f64>() / to_f64(of.len()))
}

#[expect(clippy::cast_precision_loss, reason = "graphs are drawn up to some hundred nodes")]
fn to_f64(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::{Measures, lay_out, topological};

    const M: Measures = Measures { width: 100.0, height: 20.0, gap_x: 40.0, gap_y: 10.0 };

    #[test]
    fn edges_point_right_and_boxes_do_not_overlap() {
        // A diamond with a long edge and a lonely node.
        let edges = [(0, 1), (0, 2), (1, 3), (2, 3), (0, 4), (3, 4)];
        let layout = lay_out(6, &edges, M);
        for (from, to) in edges {
            assert!(layout.nodes[from].0 + M.width < layout.nodes[to].0, "{from} → {to}");
        }
        for a in 0..6 {
            for b in 0..a {
                let ((ax, ay), (bx, by)) = (layout.nodes[a], layout.nodes[b]);
                let apart = (ax - bx).abs() >= M.width || (ay - by).abs() >= M.height;
                assert!(apart, "{a} and {b} overlap: {:?}", layout.nodes);
            }
        }
        assert_eq!(layout.edges[4].len(), 6, "the long edge bends in both layers between");
        assert!(layout.nodes.iter().all(|(x, y)| *x >= 0.0 && *y >= -1e-9));
        assert!(layout.nodes.iter().all(|(_, y)| y + M.height <= layout.height + 1e-9));
    }

    #[test]
    fn a_chain_is_a_straight_line() {
        let layout = lay_out(4, &[(0, 1), (1, 2), (2, 3)], M);
        assert!(layout.nodes.iter().all(|(_, y)| y.abs() < 1e-9), "{:?}", layout.nodes);
        assert!((layout.height - M.height).abs() < 1e-9);
    }

    #[test]
    fn a_cycle_does_not_hang() {
        assert_eq!(topological(3, &[(0, 1), (1, 0)]), [2, 0, 1]);
        assert_eq!(lay_out(3, &[(0, 1), (1, 0), (2, 2)], M).nodes.len(), 3);
        assert_eq!(lay_out(0, &[], M).nodes, []);
    }
}
