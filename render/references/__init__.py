"""The other files that a model names: found in its bytes, looked up, allowed or refused, and rewritten.

`link_scan` finds the names (in text of any encoding: `plain_text`; in USD: `crate`; in zips: `archives`),
`lookup` finds the file that a name means, `closure` follows the names to all the files that a model may have,
`redaction` rewrites those that lead elsewhere, `spelling` makes any file name valid UTF-8. `orders` are what
the confined child does of this; `closure` and `lookup` also run outside, for they parse nothing. Blender is
never involved: everything here is bounded and runs in linear time.

May import: `render.failures`, `render.importing.formats`, pydantic; no bpy, no numpy.
Start reading with `closure`, then `lookup`.
"""
