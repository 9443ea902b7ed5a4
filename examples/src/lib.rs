//! Programs built of hikyaku actors: see the `examples` folder of this package.
