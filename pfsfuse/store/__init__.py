"""Bytes: content-defined chunks, hashes, compression, packs and their index in LMDB."""
