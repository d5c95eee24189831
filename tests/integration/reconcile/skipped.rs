//! Groups that can't be compared.
