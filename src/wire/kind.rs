//! The numbers that tell frames apart.
//!
//! Invariant: a number, once released, keeps its meaning for ever and is never given to another
//! message. Both the table and the golden bytes in `tests/vectors/wire` hold it to that.

use super::{Message, WireError};

/// Which way a frame travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From whoever dialled to whoever was dialled: the first frame of a connection.
    Opening,
    /// The answer to the first frame.
    Opened,
    /// From a client to a node, or from a node that forwards to one that owns.
    Request,
    /// Back to the client, or to the node that forwarded.
    Reply,
    /// From one member to another, on a data lane.
    Lane,
    /// From one control machine to another, on their connection.
    Control,
}

/// What part a frame plays in an exchange of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// It wants to be told something.
    Asks,
    /// It brings something, and wants to be told what became of it.
    Brings,
    /// It tells who waits under its request id.
    Answers,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $way:ident, $part:ident;)*) => {
        /// What a frame is: the fifth byte of its header.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Kind {
            $($(#[$doc])* $name = $number,)*
        }

        impl Kind {
            /// Every kind, by ascending number.
            pub const ALL: &[Kind] = &[$(Kind::$name,)*];

            /// The kind of this number.
            pub fn from_number(number: u8) -> Result<Self, WireError> {
                match number {
                    $($number => Ok(Kind::$name),)*
                    unknown => Err(WireError::UnknownKind(unknown)),
                }
            }

            /// Which way it travels.
            pub fn way(self) -> Way {
                match self {
                    $(Kind::$name => Way::$way,)*
                }
            }

            /// What part it plays.
            pub fn part(self) -> Part {
                match self {
                    $(Kind::$name => Part::$part,)*
                }
            }

            /// Its name, as in the table.
            pub fn name(self) -> &'static str {
                match self {
                    $(Kind::$name => stringify!($name),)*
                }
            }
        }
    };
}

kinds! {
    /// Who dials, and what for.
    Hello = 1, Opening, Asks;
    /// Who was dialled; the connection is open.
    Welcome = 2, Opened, Answers;
    /// Why the connection is not opened.
    Refused = 3, Opened, Answers;

    /// Write or delete one key.
    Put = 16, Request, Brings;
    /// How a put ended.
    PutReply = 17, Reply, Answers;
    /// Read one key.
    Get = 18, Request, Asks;
    /// What a read found.
    GetReply = 19, Reply, Answers;
    /// The request had no effect.
    Failure = 20, Reply, Answers;
    /// Ask about the cluster or a key's history.
    Question = 21, Request, Asks;
    /// The answer to a question.
    Answer = 22, Reply, Answers;

    /// Join this delta into your copy.
    Store = 32, Lane, Brings;
    /// Keep this delta for an owner that is away.
    KeepHint = 33, Lane, Brings;
    /// It is on my synced disk.
    Stored = 34, Lane, Answers;
    /// I did not do it, and will not.
    Declined = 35, Lane, Answers;
    /// Tell me what you have of this key.
    Fetch = 36, Lane, Asks;
    /// What I have of it.
    Fetched = 37, Lane, Answers;

    /// Fingerprints of partitions.
    Summary = 48, Lane, Asks;
    /// Fingerprints of slots.
    SlotHashes = 49, Lane, Answers;
    /// Send me what I lack of this slot.
    Ask = 50, Lane, Asks;
    /// Part of a slot.
    Page = 51, Lane, Answers;
    /// Tell me your clocks of these slots.
    ClocksWanted = 52, Lane, Asks;
    /// My clocks.
    Clocks = 53, Lane, Answers;
    /// Tell me what you have of dead actors in these slots.
    ClosingWanted = 54, Lane, Asks;
    /// What I have of them.
    Closing = 55, Lane, Answers;

    /// Show everything you have of this key.
    Inspect = 64, Lane, Asks;
    /// Everything I have of it.
    Inspected = 65, Lane, Answers;
    /// Count and list what you hold.
    Count = 66, Lane, Asks;
    /// What I hold.
    Counted = 67, Lane, Answers;

    /// How the next ring is decided and spread: a [`super::control::ControlMessage`].
    Control = 80, Control, Brings;
}

impl Kind {
    /// The number that travels.
    pub fn number(self) -> u8 {
        self as u8
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Message {
    /// What its frame is called.
    pub fn kind(&self) -> Kind {
        match self {
            Message::Put(_) => Kind::Put,
            Message::PutReply(_) => Kind::PutReply,
            Message::Get(_) => Kind::Get,
            Message::GetReply(_) => Kind::GetReply,
            Message::Failure(_) => Kind::Failure,
            Message::Question(_) => Kind::Question,
            Message::Answer(_) => Kind::Answer,
            Message::Store(_) => Kind::Store,
            Message::KeepHint(_) => Kind::KeepHint,
            Message::Stored => Kind::Stored,
            Message::Declined(_) => Kind::Declined,
            Message::Fetch(_) => Kind::Fetch,
            Message::Fetched(_) => Kind::Fetched,
            Message::Summary(_) => Kind::Summary,
            Message::SlotHashes(_) => Kind::SlotHashes,
            Message::ClocksWanted(_) => Kind::ClocksWanted,
            Message::Clocks(_) => Kind::Clocks,
            Message::ClosingWanted(_) => Kind::ClosingWanted,
            Message::Closing(_) => Kind::Closing,
            Message::Ask(_) => Kind::Ask,
            Message::Page(_) => Kind::Page,
            Message::Inspect(_) => Kind::Inspect,
            Message::Inspected(_) => Kind::Inspected,
            Message::Count(_) => Kind::Count,
            Message::Counted(_) => Kind::Counted,
        }
    }
}
