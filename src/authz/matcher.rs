//! Paths of routes as one compiled structure: a step through it costs the same whether a listener
//! declares ten routes or ten thousand.
//!
//! A tree of segments, laid flat. What leads from a node to the next by a literal segment stands in
//! one table of all such steps; it is never changed once it is made, so whoever chooses the path of
//! a request can look at it, and not fill it: a fast hash without a secret will do.

use std::collections::{BTreeMap, HashMap};

use http::Method;

/// Places in `nodes`, in `sets`, or among the caller's routes. `NONE` is nowhere.
type Index = u32;
const NONE: Index = u32::MAX;

/// Where paths begin.
const PATHS: Index = 0;
/// Where gRPC services begin: each is one step, whatever dots are in its name.
const SERVICES: Index = 1;

/// Templates on their way to a [`Matcher`].
#[derive(Debug)]
pub(super) struct Plan {
    nodes: Vec<Node>,
    steps: HashMap<(Index, Box<str>), Index>,
    sets: BTreeMap<(Index, End), Methods>,
}

/// How a template ends at a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Here,
    Rest,
}

/// Finds the number of the route that a request falls under.
#[derive(Debug)]
pub(super) struct Matcher {
    nodes: Box<[Node]>,
    steps: Steps,
    sets: Box<[Methods]>,
    has_services: bool,
}

/// What comes after a way through the templates.
#[derive(Debug, Clone, Copy)]
struct Node {
    /// By `{name}`.
    any: Index,
    /// The methods of a template that ends here.
    here: Index,
    /// The methods of a template that goes on with `**`.
    rest: Index,
}

/// The routes of one template by method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Methods {
    common: [Index; COMMON],
    others: Vec<(Method, Index)>,
}

const COMMON: usize = 8;

/// Literal steps by where they start and what they are called; open addressing.
#[derive(Debug)]
struct Steps {
    slots: Box<[Slot]>,
    /// All segments, end to end.
    text: Box<str>,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    from: Index,
    /// `NONE` in a slot that is empty.
    to: Index,
    start: u32,
    length: u32,
}

/// What stands at the end of the way through the templates.
struct Found {
    set: Index,
    /// By a `**`.
    by_rest: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self { nodes: vec![Node::END, Node::END], steps: HashMap::new(), sets: BTreeMap::new() }
    }
}

impl Plan {
    /// The methods of a template, which is put in place if it is new. The template is sound:
    /// `{name}` and `**` are whole segments, and `**` is the last.
    pub(super) fn path(&mut self, template: &str) -> &mut Methods {
        let mut node = PATHS;
        for segment in template.split('/').skip(1) {
            if segment == "**" {
                return self.sets.entry((node, End::Rest)).or_default();
            }
            node =
                if segment.starts_with('{') { self.any(node) } else { self.literal(node, segment) };
        }
        self.sets.entry((node, End::Here)).or_default()
    }

    /// The same of a gRPC method; `None` is every other one of the service.
    pub(super) fn grpc(&mut self, service: &str, method: Option<&str>) -> &mut Methods {
        let service = self.literal(SERVICES, service);
        let node = match method {
            Some(method) => self.literal(service, method),
            None => self.any(service),
        };
        self.sets.entry((node, End::Here)).or_default()
    }

    pub(super) fn compile(mut self) -> Matcher {
        let mut sets = Vec::with_capacity(self.sets.len());
        for ((node, end), methods) in self.sets {
            let set = index(sets.len());
            match (self.nodes.get_mut(usize_of(node)), end) {
                (Some(node), End::Here) => node.here = set,
                (Some(node), End::Rest) => node.rest = set,
                (None, _) => {}
            }
            sets.push(methods);
        }
        let has_services = self.steps.keys().any(|(from, _)| *from == SERVICES);
        Matcher {
            nodes: self.nodes.into(),
            steps: Steps::new(self.steps),
            sets: sets.into(),
            has_services,
        }
    }

    fn literal(&mut self, from: Index, segment: &str) -> Index {
        let next = index(self.nodes.len());
        let to = *self.steps.entry((from, segment.into())).or_insert(next);
        if to == next {
            self.nodes.push(Node::END);
        }
        to
    }

    fn any(&mut self, from: Index) -> Index {
        let next = index(self.nodes.len());
        let Some(node) = self.nodes.get_mut(usize_of(from)) else { return NONE };
        if node.any == NONE {
            node.any = next;
            self.nodes.push(Node::END);
            return next;
        }
        node.any
    }
}

/// More than fit would be nowhere, and so match nothing.
fn index(count: usize) -> Index {
    Index::try_from(count).unwrap_or(NONE)
}

fn usize_of(index: Index) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}

impl Default for Matcher {
    fn default() -> Self {
        Plan::default().compile()
    }
}

impl Matcher {
    /// The route of a request; `path` begins with its first segment. A path below a declared gRPC
    /// service belongs to that service alone.
    pub(super) fn find(&self, method: &Method, path: &str, is_grpc: bool) -> Option<usize> {
        if self.has_services
            && let Some((service, name)) = path.split_once('/')
            && let Some(service) = self.steps.step(SERVICES, service)
        {
            let called = is_grpc && method == Method::POST && is_identifier(name);
            return if called { self.of_service(service, name) } else { None };
        }
        let found = self.closest(PATHS, path)?;
        if found.by_rest {
            // Many applications serve `/a/` and `/a` alike. What a closer route claims in one of the
            // two spellings must not be had through a broader `**` by the other.
            let bare = path.strip_suffix('/').unwrap_or(path);
            if self.claim(PATHS, Some(bare)).is_some_and(|claim| claim != found.set) {
                return None;
            }
        }
        self.route(found.set, method)
    }

    fn of_service(&self, service: Index, method: &str) -> Option<usize> {
        let node = match self.steps.step(service, method) {
            Some(node) => node,
            None => self.node(service)?.any,
        };
        self.route(self.node(node)?.here, &Method::POST)
    }

    fn route(&self, set: Index, method: &Method) -> Option<usize> {
        self.sets.get(usize_of(set))?.get(method)
    }

    fn node(&self, index: Index) -> Option<&Node> {
        self.nodes.get(usize_of(index))
    }

    /// The most specific template that a path falls under. Each node stands at one depth, so each
    /// is visited once at most, whatever the path.
    fn closest(&self, from: Index, path: &str) -> Option<Found> {
        let (segment, below) = match path.split_once('/') {
            Some((segment, below)) => (segment, Some(below)),
            None => (path, None),
        };
        let next = |node: Index| match below {
            Some(path) => self.closest(node, path),
            None => self.node(node)?.ends().map(|set| Found { set, by_rest: false }),
        };
        let exact = self.steps.step(from, segment).and_then(next);
        if exact.is_some() || segment.is_empty() {
            return exact;
        }
        let node = self.node(from)?;
        let any = if node.any == NONE { None } else { next(node.any) };
        any.or_else(|| node.goes_on().map(|set| Found { set, by_rest: true }))
    }

    /// The closest template around a path, where `**` stands for no segment as well.
    fn claim(&self, from: Index, path: Option<&str>) -> Option<Index> {
        let node = self.node(from)?;
        let Some(path) = path else { return node.ends().or(node.goes_on()) };
        let (segment, below) = match path.split_once('/') {
            Some((segment, below)) => (segment, Some(below)),
            None => (path, None),
        };
        let exact = self.steps.step(from, segment).and_then(|node| self.claim(node, below));
        let any = || if node.any == NONE { None } else { self.claim(node.any, below) };
        exact.or_else(any).or(node.goes_on())
    }
}

impl Node {
    const END: Self = Self { any: NONE, here: NONE, rest: NONE };

    fn ends(&self) -> Option<Index> {
        (self.here != NONE).then_some(self.here)
    }

    fn goes_on(&self) -> Option<Index> {
        (self.rest != NONE).then_some(self.rest)
    }
}

impl Default for Methods {
    fn default() -> Self {
        Self { common: [NONE; COMMON], others: Vec::new() }
    }
}

impl Methods {
    pub(super) fn get(&self, method: &Method) -> Option<usize> {
        let route = match common(method) {
            Some(at) => *self.common.get(at)?,
            None => self.others.iter().find(|(own, _)| own == method).map(|(_, route)| *route)?,
        };
        (route != NONE).then(|| usize_of(route))
    }

    pub(super) fn set(&mut self, method: &Method, route: usize) {
        let route = index(route);
        match common(method).and_then(|at| self.common.get_mut(at)) {
            Some(known) => *known = route,
            None => self.others.push((method.clone(), route)),
        }
    }
}

fn common(method: &Method) -> Option<usize> {
    match *method {
        Method::GET => Some(0),
        Method::POST => Some(1),
        Method::HEAD => Some(2),
        Method::PUT => Some(3),
        Method::DELETE => Some(4),
        Method::PATCH => Some(5),
        Method::OPTIONS => Some(6),
        Method::TRACE => Some(7),
        _ => None,
    }
}

impl Steps {
    const EMPTY: Slot = Slot { from: NONE, to: NONE, start: 0, length: 0 };

    fn new(steps: HashMap<(Index, Box<str>), Index>) -> Self {
        // At most half full, so that a search ends soon.
        let size = steps.len().saturating_mul(2).next_power_of_two();
        let mut made = Self { slots: vec![Self::EMPTY; size].into(), text: Box::default() };
        let mut text = String::new();
        let mut steps: Vec<_> = steps.into_iter().collect();
        // The same routes make the same table.
        steps.sort_unstable();
        for ((from, segment), to) in steps {
            let slot = Slot { from, to, start: index(text.len()), length: index(segment.len()) };
            let mut at = made.first(from, &segment);
            while made.slots.get(at).is_some_and(|taken| taken.to != NONE) {
                at = made.after(at);
            }
            if let Some(free) = made.slots.get_mut(at) {
                *free = slot;
            }
            text.push_str(&segment);
        }
        made.text = text.into();
        made
    }

    fn step(&self, from: Index, segment: &str) -> Option<Index> {
        let mut at = self.first(from, segment);
        loop {
            let slot = self.slots.get(at)?;
            if slot.to == NONE {
                return None;
            }
            if slot.from == from && self.name(slot) == Some(segment) {
                return Some(slot.to);
            }
            at = self.after(at);
        }
    }

    fn name(&self, slot: &Slot) -> Option<&str> {
        let start = usize_of(slot.start);
        self.text.get(start..start.saturating_add(usize_of(slot.length)))
    }

    fn first(&self, from: Index, segment: &str) -> usize {
        let hash = hash(from, segment.as_bytes());
        usize::try_from(hash >> 32).unwrap_or(0) & self.mask()
    }

    fn after(&self, at: usize) -> usize {
        at.wrapping_add(1) & self.mask()
    }

    fn mask(&self) -> usize {
        self.slots.len().wrapping_sub(1)
    }
}

/// Eight bytes at a time, each folded in by a multiplication, the last ones with their number.
fn hash(from: Index, bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let fold = |hash: u64, word: u64| (hash.rotate_left(23) ^ word).wrapping_mul(FACTOR);
    let (words, rest) = bytes.as_chunks::<8>();
    let start = fold(FACTOR, u64::from(from));
    let hash = words.iter().fold(start, |hash, word| fold(hash, u64::from_le_bytes(*word)));
    let tail = rest.iter().fold(1_u64, |tail, byte| (tail << 8) | u64::from(*byte));
    let hash = fold(hash, tail);
    hash ^ (hash >> 29).wrapping_mul(FACTOR)
}

/// A name of Protobuf.
pub(super) fn is_identifier(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
