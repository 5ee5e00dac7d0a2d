//! One table per fieldless enum instead of two lists that can diverge.

/// Implements `ALL` and `as_str` for a fieldless enum. The compiler rejects a table that misses a variant.
macro_rules! named_variants {
    ($type:ty { $($variant:ident => $name:literal),+ $(,)? }) => {
        impl $type {
            /// Every value, in the order of the table.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$variant),+];

            /// The name in JSON, metrics, logs and etcd.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),+
                }
            }
        }
    };
}
