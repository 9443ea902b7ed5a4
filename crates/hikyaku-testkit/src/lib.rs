//! hikyaku-testkit
