"""Where notebooks of before look for the network and the detector; nothing else does."""
