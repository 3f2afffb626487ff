"""The kinds of image data sets, one file each; ``data_kinds`` finds them."""
