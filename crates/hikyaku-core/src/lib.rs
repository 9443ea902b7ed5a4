//! hikyaku-core
