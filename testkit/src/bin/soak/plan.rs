//! What is delivered: lives of groups made from a seed, with repeats, late events and GroupIds that are used again.

use chat_groups_testkit::bodies::Group;
use fastrand::Rng;
use serde_json::{Value, json};

/// How many groups live at the same time.
const GROUPS: usize = 60;

/// How many members the large Community has before its events are delivered.
const COMMUNITY_MEMBERS: usize = 50_000;

/// The first bodies: its creation, and the join of all of its members, which is not delivered.
const CREATED: usize = 0;
const FILLED: usize = 1;

/// What is told, in the order in which it happened, and the order in which that is delivered, by index.
pub struct Plan {
    pub bodies: Vec<Value>,
    pub order: Vec<usize>,
}

impl Plan {
    /// Plans at least so many deliveries.
    pub fn new(deliveries: usize, rng: &mut Rng) -> Self {
        let mut lives: Vec<Life> = (0..GROUPS).map(|number| Life::new(number, rng)).collect();
        let mut count = GROUPS;
        let (community, mut bodies) = Life::community();
        lives.push(community);
        let mut arrivals = vec![(0, CREATED)];
        while arrivals.len() < deliveries {
            let life = &mut lives[rng.usize(..=GROUPS)];
            let index = bodies.len();
            // Now and then two events are of the same ms.
            let tick = u64::try_from(index - usize::from(rng.u8(..20) == 0 && index > 0)).unwrap_or_default();
            bodies.push(life.next(1_700_000_000_000 + tick, rng));
            for _ in 0..if rng.u8(..100) < 14 { 2 } else { 1 } {
                arrivals.push((index + delay(rng), index));
            }
            if life.is_over(rng) {
                *life = Life::new(count, rng);
                count += 1;
            }
        }
        arrivals.sort_unstable();
        Self { bodies, order: arrivals.into_iter().map(|(_, index)| index).collect() }
    }

    /// The join that is in the table from the start.
    pub fn filled(&self) -> &Value {
        &self.bodies[FILLED]
    }
}

/// How many events overtake one.
fn delay(rng: &mut Rng) -> usize {
    match rng.u8(..100) {
        0..70 => rng.usize(..5),
        70..95 => rng.usize(..200),
        _ => rng.usize(..5000),
    }
}

/// A GroupId, through one life or several.
struct Life {
    group: Group,
    /// The accounts that take part in it: its members are the first of them.
    accounts: Vec<String>,
    members: usize,
    owner: usize,
    is_there: bool,
    is_lasting: bool,
    lives: usize,
}

impl Life {
    fn new(number: usize, rng: &mut Rng) -> Self {
        let group_type = ["Work", "Public", "Meeting", "Community", "AVChatRoom"][rng.usize(..5)];
        let members = match rng.u8(..100) {
            0..70 => rng.usize(1..=5),
            70..90 => rng.usize(6..=50),
            90..98 => rng.usize(51..=120),
            _ => rng.usize(121..=600),
        };
        let first = rng.usize(..1000);
        // Who joins later, up to 300 at once.
        let accounts = members + if rng.u8(..50) == 0 { 300 } else { rng.usize(2..10) };
        Self {
            group: Group::new(format!("@TGS#{number:06}"), group_type),
            accounts: (first..first + accounts).map(|number| format!("user-{number:04}")).collect(),
            members,
            owner: 0,
            is_there: false,
            is_lasting: false,
            lives: 0,
        }
    }

    /// A large Community that is never destroyed, with what was told of it before.
    fn community() -> (Self, Vec<Value>) {
        let group = Group::new("@TGS#_COMMUNITY", "Community");
        let accounts: Vec<String> =
            (0..COMMUNITY_MEMBERS + 300).map(|number| format!("user-{number:05}")).collect();
        let members: Vec<&str> = accounts.iter().take(COMMUNITY_MEMBERS).map(String::as_str).collect();
        let time = 1_600_000_000_000;
        let bodies = vec![group.created(time, members[0], &members[..1]), group.joined(time + 1, &members)];
        let members = COMMUNITY_MEMBERS;
        let life = Self { group, accounts, members, owner: 0, is_there: true, is_lasting: true, lives: 1 };
        (life, bodies)
    }

    /// Whether nothing more is told of it.
    fn is_over(&self, rng: &mut Rng) -> bool {
        !self.is_there && self.lives > 0 && rng.bool()
    }

    fn next(&mut self, time: u64, rng: &mut Rng) -> Value {
        if !self.is_there {
            return self.create(time, rng);
        }
        match rng.u8(..100) {
            0..25 => self.join(time, rng),
            25..45 => self.leave(time, rng),
            45..65 => self.group.changed(time, info(rng)),
            65..80 => self.change_member(time, rng),
            80..92 => self.hand_over(time, rng),
            _ if self.is_lasting => self.group.changed(time, info(rng)),
            _ => self.destroy(time),
        }
    }

    fn create(&mut self, time: u64, rng: &mut Rng) -> Value {
        self.is_there = true;
        self.lives += 1;
        self.members = self.members.clamp(1, self.accounts.len());
        self.owner = rng.usize(..self.members);
        let mut body = self.group.created(time, &self.accounts[self.owner], &self.members());
        body["UserDefinedDataList"] = json!([{ "Key": "color", "Value": text(rng) }]);
        body
    }

    /// Some that are outside come in, or all of them.
    fn join(&mut self, time: u64, rng: &mut Rng) -> Value {
        let outside: Vec<&str> = self.accounts.iter().skip(self.members).map(String::as_str).collect();
        let count = if rng.u8(..4) == 0 { outside.len() } else { outside.len().min(1) };
        let body = self.group.joined(time, outside.get(..count).unwrap_or_default());
        self.members += count;
        body
    }

    /// The last ones leave.
    fn leave(&mut self, time: u64, rng: &mut Rng) -> Value {
        let count = rng.usize(1..=3).min(self.members);
        self.members -= count;
        let gone: Vec<&str> =
            self.accounts.iter().skip(self.members).take(count).map(String::as_str).collect();
        self.group.left(time, &gone)
    }

    fn change_member(&self, time: u64, rng: &mut Rng) -> Value {
        let account = &self.accounts[rng.usize(..self.accounts.len())];
        let mut fields = json!({ "NameCard": text(rng) });
        if rng.bool() {
            fields["Role"] = json!(if rng.bool() { "Admin" } else { "Member" });
        }
        self.group.member_changed(time, account, fields)
    }

    fn hand_over(&mut self, time: u64, rng: &mut Rng) -> Value {
        let old = std::mem::replace(&mut self.owner, rng.usize(..self.accounts.len()));
        self.group.handed_over(time, &self.accounts[old], &self.accounts[self.owner])
    }

    fn destroy(&mut self, time: u64) -> Value {
        self.is_there = false;
        self.group.destroyed(time, &self.members())
    }

    fn members(&self) -> Vec<&str> {
        self.accounts.iter().take(self.members).map(String::as_str).collect()
    }
}

fn info(rng: &mut Rng) -> Value {
    match rng.u8(..4) {
        0 => json!({ "Name": text(rng) }),
        1 => json!({ "Introduction": text(rng), "FaceUrl": text(rng) }),
        2 => json!({ "Notification": text(rng) }),
        _ => json!({ "UserDefinedDataList": [{ "Key": "color", "Value": text(rng) }] }),
    }
}

/// A text, now and then an empty one.
fn text(rng: &mut Rng) -> String {
    let length = rng.usize(..12);
    (0..length).map(|_| rng.lowercase()).collect()
}
