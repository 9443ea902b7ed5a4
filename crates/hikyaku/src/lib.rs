//! hikyaku
