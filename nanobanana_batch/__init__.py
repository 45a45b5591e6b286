"""Many images from one manifest, over a paid API that makes them asynchronously: see docs/design.md."""
