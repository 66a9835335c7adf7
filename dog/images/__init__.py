"""Is it a whole picture? Its type, its size and its thumbnail, from its bytes alone.

A name or a declared type is never believed. Each format is first walked from its first byte to its end mark,
which finds what a decoder forgives (a JPEG without its last bytes, a PNG whose checksums are wrong), and is
measured before anything is decoded. Then all of it is decoded, once: for a JPEG at reduced size, where every
byte is read all the same; a new one by a decoder that reports damage (strict.py). What is refused is refused with
BadImage, whatever the bytes.

A JPEG and a WebP have no checksums: one that is changed in its middle can still be a picture, if not the one taken.
docs/cameras.md says how much of that is found.
"""

from dog.images.decoding import THUMBNAIL_BOX, ImageInfo, grey_histogram, inspect, inspect_kept, measure, scale_down
from dog.images.file_structure import MAX_IMAGE_BYTES, MAX_IMAGE_PIXELS, walk_structure
from dog.images.jpeg_damage import add_missing_end, load_simplejpeg

__all__ = [
    "MAX_IMAGE_BYTES",
    "MAX_IMAGE_PIXELS",
    "THUMBNAIL_BOX",
    "ImageInfo",
    "add_missing_end",
    "grey_histogram",
    "inspect",
    "inspect_kept",
    "load_simplejpeg",
    "measure",
    "scale_down",
    "walk_structure",
]
