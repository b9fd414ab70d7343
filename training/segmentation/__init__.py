"""The inside predicted from a picture: where a surface that no view sees lies behind, and their number.

`head` is the network, `interiors` what it is trained for, `truth` the masks it learns from; `segmenter` uses
a checkpoint, `files` serves `insideout segment`, `evaluation` compares with predictions that look at no
picture, and `comparison` clouds that were generated with and without masks. `layered` predicts every surface
along a view's rays, and `layer_cloud` makes a cloud of them.

May import: numpy, torch, Pillow, `fuse` and the rest of `training`. Start reading with `segmenter.py`.
"""
