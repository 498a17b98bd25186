// Compiled only so that the precompiled header has an owner.
