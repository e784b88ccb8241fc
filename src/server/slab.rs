//! Things by small numbers that are used again, and by names that are not.
//!
//! Invariant: a name ([`Slab::id`]) stands for one thing for ever; a late message for a thing that
//! is gone finds nothing, never its successor. Not here: what the things are.

/// Things in numbered places.
#[derive(Debug)]
pub(super) struct Slab<T> {
    places: Vec<Place<T>>,
    free: Vec<usize>,
}

#[derive(Debug)]
struct Place<T> {
    /// How many things were here before.
    generation: u32,
    thing: Option<T>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Where the next thing will be put.
    pub(super) fn next(&self) -> usize {
        self.free.last().copied().unwrap_or(self.places.len())
    }

    /// Puts a thing somewhere.
    pub(super) fn insert(&mut self, thing: T) -> usize {
        let at = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { generation: 0, thing: None });
            self.places.len() - 1
        });
        self.places[at].thing = Some(thing);
        at
    }

    /// The thing at this place.
    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        self.places.get_mut(at)?.thing.as_mut()
    }

    /// Takes the thing at this place away.
    pub(super) fn remove(&mut self, at: usize) -> Option<T> {
        let place = self.places.get_mut(at)?;
        let thing = place.thing.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(at);
        Some(thing)
    }

    /// The name of what is at this place.
    pub(super) fn id(&self, at: usize) -> u64 {
        debug_assert!(at < u32::MAX as usize, "fewer connections than that");
        (u64::from(self.places[at].generation) << 32) | at as u64
    }

    /// The place of the thing of this name.
    pub(super) fn at(&self, id: u64) -> Option<usize> {
        let at = (id & u64::from(u32::MAX)) as usize;
        let place = self.places.get(at)?;
        (place.thing.is_some() && u64::from(place.generation) == id >> 32).then_some(at)
    }

    /// All things.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.places.iter().filter_map(|place| place.thing.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_never_finds_a_successor() {
        let mut slab = Slab::default();
        let at = slab.insert("first");
        let id = slab.id(at);
        assert_eq!(slab.at(id), Some(at));
        assert_eq!(slab.remove(at), Some("first"));
        assert_eq!(slab.at(id), None);
        assert_eq!(slab.insert("second"), at);
        assert_eq!(slab.at(id), None);
        assert_eq!(slab.at(slab.id(at)), Some(at));
        assert_eq!(slab.at(u64::MAX), None);
    }
}
