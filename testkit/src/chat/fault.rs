//! What goes wrong with a call.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::Value;

/// What happens to one call.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Fault {
    /// Nothing: it is answered.
    #[default]
    None,
    /// It waits, and is then answered as things are by then.
    Slow(Duration),
    /// It is answered as things are now, but the answer takes this long.
    Late(Duration),
    /// It is never answered.
    Hang,
    /// It is refused with this ErrorCode.
    Code(u32),
    /// Each list of the answer lacks its second half.
    Truncate,
    /// Each list of the answer is empty.
    Empty,
    /// Something else answers: status and body.
    Answer(u16, String),
}

impl Fault {
    /// Does to an answer what the fault says.
    pub(super) fn maim(&self, answer: &mut Value) {
        let lists = answer.as_object_mut().into_iter().flat_map(|fields| fields.values_mut());
        for list in lists.filter_map(Value::as_array_mut) {
            match self {
                Self::Truncate => list.truncate(list.len() / 2),
                Self::Empty => list.clear(),
                _ => {}
            }
        }
    }
}

/// What happens to the calls of a command one after the other: first these, then always that.
#[derive(Debug, Clone, Default)]
pub struct Script {
    pub first: VecDeque<Fault>,
    pub then: Fault,
}

impl Script {
    pub fn always(fault: Fault) -> Self {
        Self { first: VecDeque::new(), then: fault }
    }

    pub fn first(faults: impl IntoIterator<Item = Fault>) -> Self {
        Self { first: faults.into_iter().collect(), then: Fault::None }
    }

    pub(super) fn next(&mut self) -> Fault {
        self.first.pop_front().unwrap_or_else(|| self.then.clone())
    }
}
