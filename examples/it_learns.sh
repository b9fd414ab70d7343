#!/bin/sh
# Does it learn? 320 real objects, three objectives (OBJECTIVES), images of views that no training step has seen.
#
#   apt-get download sweethome3d-furniture && dpkg -x sweethome3d-furniture_*.deb furniture
#   sh examples/it_learns.sh furniture out/furniture
#
# Each command resumes where it stopped. STEPS=8000 take about 40 CPU minutes per objective. The results are the last
# lines of OUT/*.txt: the Chamfer distance of generated clouds to their own object and to the others, before the
# first step and after the last; the pictures are OUT/*.png.
set -eu
source=$1 out=$2 count=${COUNT:-320} steps=${STEPS:-8000}
python=${PYTHON:-.venv/bin/python}
insideout="$python -m pipeline.cli"

test -f "$out/models/models.csv" || $python examples/furniture.py "$source" "$out/models" "$count"
$insideout render "$out/models/models.csv" "$out/data" --views 20 --resolution 128
$insideout fuse "$out/data" --points 4096

for objective in ${OBJECTIVES:-epsilon v flow}; do
    $insideout train "$out/data" --run "$objective" --config configs/tiny_cpu.yaml \
        --prediction "$objective" --steps "$steps" --views 18 --cache-mib 1024
    for state in untrained no-untrained; do
        $insideout evaluate "$out/data" --checkpoint "$out/data/checkpoints/$objective" --view 19 \
            --split train --count 48 --no-scores --"$state" --pictures "$out/$objective-$state.png" >"$out/$objective-$state.txt"
        echo "$objective, $state: $(tail -n 1 "$out/$objective-$state.txt")"
    done
done
