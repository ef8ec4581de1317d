//! What the datapath tables and the differential tests share.

pub(crate) mod bench;
pub(crate) mod policy;
