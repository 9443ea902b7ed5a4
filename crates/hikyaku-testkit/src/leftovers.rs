//! What a simulation has to look at when it ends: its probes, its effects, who was spawned.

use crate::effects::{Effect, Effects};
use crate::probe::Unread;
use hikyaku_core::{ActorRef, MailboxIndex, System};
use std::any::type_name;
use std::cell::RefCell;
use std::sync::Arc;

#[derive(Default)]
pub(crate) struct Leftovers {
    pub(crate) effects: Effects,
    spawned: RefCell<Vec<Spawned>>,
    probes: Vec<Arc<dyn Unread>>,
}

/// An actor that the test has spawned.
struct Spawned {
    actor: MailboxIndex,
    type_name: &'static str,
    is_alive: fn(&System, MailboxIndex) -> bool,
}

impl Leftovers {
    pub(crate) fn new(effects: Effects) -> Self {
        Self {
            effects,
            ..Self::default()
        }
    }

    pub(crate) fn spawned<A, M: 'static>(&self, actor: &ActorRef<M>) {
        self.spawned.borrow_mut().push(Spawned {
            actor: actor.index(),
            type_name: type_name::<A>(),
            is_alive: |system, index| system.resolve::<M>(index).is_some(),
        });
    }

    pub(crate) fn probe(&mut self, inbox: Arc<dyn Unread>) {
        self.probes.push(inbox);
    }

    /// Messages in probes. To be asked before the shutdown, and when everything is idle.
    pub(crate) fn unread(&self) -> Vec<String> {
        self.probes
            .iter()
            .filter_map(|probe| probe.unread())
            .collect()
    }

    /// Dead letters and failures that were not taken, and takes them.
    pub(crate) fn troubles(&self) -> Vec<String> {
        let effects = self.effects.take().into_iter();
        let troubles = effects.filter(Effect::is_trouble);
        troubles.map(|effect| effect.to_string()).collect()
    }

    /// The actors that are alive, those first that the test has spawned. To be asked after the
    /// shutdown.
    pub(crate) fn leaked(&self, system: &System) -> Vec<String> {
        let spawned = self.spawned.borrow();
        let alive = spawned.iter().filter(|it| (it.is_alive)(system, it.actor));
        let mut leaked: Vec<String> = alive
            .map(|it| format!("actor {}, a {}, has not ended", it.actor, it.type_name))
            .collect();
        let others = system.metrics().live_actors.saturating_sub(leaked.len());
        if others != 0 {
            leaked.push(format!("actors besides that have not ended: {others}"));
        }
        leaked
    }
}
