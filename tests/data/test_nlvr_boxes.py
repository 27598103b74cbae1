"""Scenes of boxes: rendering against the corpus' own pictures, and targets against hand counts."""

import itertools
import json

import numpy as np
import pytest

from verdict.base import paths
from verdict.base.files.images import read_image, resize
from verdict.data.nlvr import boxes
from verdict.data.nlvr.scenes import Item, is_tower_scene, parse_scene

SIZE = (64, 256)

HAND = (
    (Item("yellow", "square", 0, 30, 20), Item("yellow", "circle", 60, 70, 30)),
    (Item("black", "triangle", 90, 41, 10),),
    (
        Item("blue", "circle", 12, 13, 20),
        Item("blue", "circle", 13, 40, 10),
        Item("black", "square", 70, 0, 30),
    ),
)
TOWERS = (
    (Item("black", "square", 40, 59, 20), Item("blue", "square", 40, 80, 20)),
    (Item("blue", "square", 40, 80, 20),),
    tuple(
        Item(colour, "square", 40, 80 - 21 * k, 20) for k, colour in enumerate(("blue", "black", "yellow", "yellow"))
    ),
)


def test_pictures_of_the_corpus_are_reproduced():
    root = paths.local_data("nlvr")
    if root is None:
        pytest.skip("VERDICT_DATA holds no nlvr corpus")
    examples = [json.loads(line) for line in (root / "dev" / "dev.json").read_text().splitlines()[:23]]
    for example, (k, order) in itertools.product(examples, enumerate(itertools.permutations(range(3)))):
        scene = parse_scene(example["structured_rep"])
        file = root / "dev" / "images" / example["directory"] / f"dev-{example['identifier']}-{k}.png"
        real = resize(read_image(file), SIZE).astype(int)
        ours = boxes.render_scenes([tuple(scene[b] for b in order)], size=SIZE)[0].astype(int)
        # Pillow rounds between its two passes, and the corpus' browser smoothed outlines in its own way.
        assert np.abs(real - ours).mean() < 0.3
        assert np.abs(real - ours).max() < 40


def test_rendering_at_the_corpus_size_covers_the_area_of_each_shape():
    size = 30
    dark = {}
    for shape in ("square", "circle", "triangle"):
        image = boxes.render_scenes([((Item("black", shape, 35, 35, size),),)], size=(100, 100))[0, ..., 0]
        dark[shape] = (211 - image.astype(float)).sum() / 211
    assert dark["square"] == pytest.approx(size**2)
    assert dark["circle"] == pytest.approx(np.pi * size**2 / 4, rel=0.01)
    assert dark["triangle"] == pytest.approx(size**2 / 2, rel=0.01)


def test_drawn_scenes_are_lawful_and_varied():
    scenes = boxes.draw_scenes(211, np.random.default_rng(3))
    towers = [is_tower_scene(scene) for scene in scenes]
    assert 0.25 < np.mean(towers) < 0.55
    for box in (box for scene in scenes for box in scene):
        assert 1 <= len(box) <= 8
        for item in box:
            assert 0 <= item.x <= 100 - item.size and 0 <= item.y <= 100 - item.size
        for a, b in itertools.combinations(box, 2):
            apart_x = a.x + a.size <= b.x or b.x + b.size <= a.x
            assert apart_x or a.y + a.size <= b.y or b.y + b.size <= a.y
    assert {len(box) for scene, tower in zip(scenes, towers, strict=True) if tower for box in scene} == {1, 2, 3, 4}
    seen = {(i.colour, i.shape, i.size) for scene in scenes for box in scene for i in box}
    assert len(seen) == 3 * 3 * 3


def test_patch_targets_of_a_hand_made_scene():
    targets = boxes.patch_targets([HAND], size=SIZE, patch_px=16)
    assert {name: target.shape for name, target in targets.items()} == {
        "items": (1, 64, 9),
        "sizes": (1, 64, 3),
        "walls": (1, 64, 4),
        "box": (1, 64, 35),
    }
    grid = {name: target[0].reshape(4, 16, -1) for name, target in targets.items()}
    # A patch is 25 corpus pixels. Yellow square: centre (10, 40) of box 0, so row 1, column 0.
    assert grid["items"][1, 0].tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0]
    assert grid["sizes"][1, 0].tolist() == [0, 1, 0] and grid["walls"][1, 0].tolist() == [1, 0, 0, 0]
    # Yellow circle: centre (75, 85), row 3, column 3; its lower wall is at 100.
    assert grid["items"][3, 3].tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 0] and grid["walls"][3, 3].tolist() == [0, 0, 0, 1]
    # Black triangle: centre (150 + 95, 46), row 1, column 9, at the right wall.
    assert grid["items"][1, 9].tolist() == [0, 0, 0, 0, 0, 1, 0, 0, 0] and grid["walls"][1, 9].tolist() == [0, 1, 0, 0]
    # Blue circles: centres (322, 23) and (318, 45), rows 0 and 1 of column 12.
    assert grid["items"][0, 12, 7] == grid["items"][1, 12, 7] == 1
    assert targets["items"].sum() == 6
    assert grid["walls"][0, 15].tolist() == [0, 1, 1, 0]
    # Between the boxes nothing is held; in a box every patch tells the same.
    assert grid["box"][:, [4, 5, 10, 11]].sum() == 0
    assert (grid["box"][:, :4] == grid["box"][0, 0]).all() and grid["box"][0, 0].sum() > 0


def test_box_facts_of_hand_made_scenes():
    facts = boxes.box_facts([HAND, TOWERS])
    third = facts[0, 2]
    assert third[:9].tolist() == [0, 0, 0, 1, 0, 0, 0, 2, 0]
    assert third[9:12].tolist() == [0, 1, 2] and third[12:15].tolist() == [1, 2, 0] and third[15] == 3
    assert third[16:19].tolist() == [0, 1, 0] and third[19:22].tolist() == [1, 0, 0]
    assert facts[0, 0, 22:25].tolist() == [1, 0, 0] and third[25:28].tolist() == [0, 0, 2]
    assert third[28:30].tolist() == [2, 2] and third[30:].tolist() == [0] * 5
    # Yellow 1, black 2, blue 3; base to top, then the top again.
    assert facts[1, 0, 30:].tolist() == [3, 2, 0, 0, 2]
    assert facts[1, 2, 30:].tolist() == [3, 2, 1, 1, 1]


def test_scene_facts_of_hand_made_scenes():
    facts = boxes.scene_facts([HAND, TOWERS])
    assert facts.shape == (2, 61)
    assert facts[0, 9:12].tolist() == [2, 2, 2] and facts[0, 15] == 6
    assert facts[1, 15] == 7
    # Boxes with yellow, black, blue; with squares, circles, triangles; of nothing else.
    assert facts[0, 28:34].tolist() == [1, 2, 1, 2, 2, 1]
    assert facts[0, 34:40].tolist() == [1, 1, 0, 0, 0, 1]
    assert facts[0, 40:42].tolist() == [3, 1]
    base, top, height = facts[1, 42:45], facts[1, 45:48], facts[1, 48:52]
    assert base.tolist() == [0, 0, 3] and top.tolist() == [1, 1, 1] and height.tolist() == [1, 1, 0, 1]
    on = facts[1, 52:].reshape(3, 3)  # rows: below, columns: above
    assert on[2, 1] == 2 and on[1, 0] == 1 and on[0, 0] == 1 and on.sum() == 4
    assert facts[0, 42:].sum() == 0
