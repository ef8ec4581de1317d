//! Shared types in the form aya's maps want.
//!
//! `Pod` may only be implemented here for types of this crate, hence the
//! transparent wrappers. Each wrapped type is `repr(C)` without padding, and any
//! bit pattern is a value of it; `firewall-common` asserts the layouts.

use firewall_common::abi::flow::FlowKey;

macro_rules! pod {
    ($($(#[$doc:meta])* $name:ident($type:ty);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        #[repr(transparent)]
        pub struct $name(pub $type);

        // SAFETY: see the module's first lines.
        unsafe impl aya::Pod for $name {}
    )*};
}

pod! {
    /// Key of a flow.
    Key(FlowKey);
}
