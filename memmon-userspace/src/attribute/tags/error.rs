//! Why something was not tagged, and what to do: these sentences are what the caller of `TagRegion` reads.

/// A region was not tagged, or not untagged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    /// No byte.
    #[error("the region at {start:#x} has length 0: give the length in bytes")]
    Empty {
        /// Where.
        start: u64,
    },
    /// Not an address of a process.
    #[error(
        "{length} bytes from {start:#x} reach beyond the addresses of a process: give the address and length of memory of \
         your own"
    )]
    Beyond {
        /// First byte.
        start: u64,
        /// Bytes.
        length: u64,
    },
    /// More than anybody can mean.
    #[error("{length} bytes are more than the {limit} that one tag may have: tag what matters of them")]
    TooLong {
        /// Bytes.
        length: u64,
        /// The limit.
        limit: u64,
    },
    /// Not a name to show.
    #[error("the label {problem}: give 1 to {limit} bytes of printable text")]
    Label {
        /// What is wrong.
        problem: String,
        /// Longest label, bytes.
        limit: usize,
    },
    /// Too many tags of this process.
    #[error("this process has {limit} tags, which is the limit: untag some, or tag larger regions")]
    Tags {
        /// The limit.
        limit: usize,
    },
    /// Too many ranges of this process.
    #[error(
        "this process would have {ranges} separate ranges, {limit} is the limit: tag larger regions, or keep what is \
         critical together"
    )]
    Ranges {
        /// How many there would be.
        ranges: usize,
        /// The limit.
        limit: usize,
    },
    /// Too many ranges of this user.
    #[error("the processes of user {uid} have {limit} ranges together, which is the limit: untag some")]
    RangesOfUser {
        /// Which user.
        uid: u32,
        /// The limit.
        limit: usize,
    },
    /// Too many labels of this process.
    #[error(
        "this process has {limit} different labels, which is the limit: use one label for what belongs together"
    )]
    Labels {
        /// The limit.
        limit: usize,
    },
    /// Too many labels of this user.
    #[error("the processes of user {uid} have {limit} labels together, which is the limit: use fewer labels")]
    LabelsOfUser {
        /// Which user.
        uid: u32,
        /// The limit.
        limit: usize,
    },
    /// Too many processes of this user.
    #[error("{limit} processes of user {uid} have tags, which is the limit: end or untag some")]
    ProcessesOfUser {
        /// Which user.
        uid: u32,
        /// The limit.
        limit: usize,
    },
    /// Too many processes.
    #[error("{limit} processes have tags, which is the limit of this host")]
    Processes {
        /// The limit.
        limit: usize,
    },
    /// Too many ranges in all.
    #[error("all processes together have {limit} ranges, which is the limit of this host")]
    AllRanges {
        /// The limit.
        limit: usize,
    },
    /// Too many labels in all.
    #[error("all processes together have {limit} labels, which is the limit of this host")]
    AllLabels {
        /// The limit.
        limit: usize,
    },
    /// Too much of users that are no service's.
    #[error(
        "the users of this host have {limit} {what} together, which is the limit: the rest is for services"
    )]
    OfPeople {
        /// The limit.
        limit: usize,
        /// Of what.
        what: &'static str,
    },
    /// Nothing of that id.
    #[error(
        "tag {id} is not one of this process, which has {tags}: a tag ends with its process, exec and untagging"
    )]
    Unknown {
        /// What was asked for.
        id: u64,
        /// How many tags it has.
        tags: usize,
    },
}

impl TagError {
    /// Whether a limit was reached, as against a request that makes no sense.
    pub const fn is_limit(&self) -> bool {
        matches!(
            self,
            Self::Tags { .. }
                | Self::Ranges { .. }
                | Self::RangesOfUser { .. }
                | Self::Labels { .. }
                | Self::LabelsOfUser { .. }
                | Self::ProcessesOfUser { .. }
                | Self::Processes { .. }
                | Self::AllRanges { .. }
                | Self::AllLabels { .. }
                | Self::OfPeople { .. }
        )
    }
}
