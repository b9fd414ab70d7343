"""How good are generated clouds? Scores of pairs, of sets and of the inside, with their floor and ceiling.

`distances`, `transport` and `inside` judge a cloud by its true one, `sets` and `features` a set of clouds by
a set of true ones, `retrieval` by texts; `alignment` turns clouds first, `bootstrap` gives intervals.

May import: numpy, scipy, torch, open3d, `fuse.preview`, and of `training` only `conditioning`,
`data.channels`, `networks.torch_files` and `settings`.
Start reading with `report.py`.
"""
