"""Miniatures of public corpora of pictures in their original formats."""

import io
import pickle
import tarfile

import numpy as np
from PIL import Image

from verdict.clip.pictures import cifar, corpora

# The fine labels of CIFAR-100 in the order of their ids, as its archive lists them.
CIFAR100 = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
    man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
    pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
    skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
    tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""
CIFAR100 = CIFAR100.split()
CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
NAMES = {"cifar10": CIFAR10, "cifar100": CIFAR100}


def encoded(colour, side=(9, 7), kind="PNG"):
    buffer = io.BytesIO()
    Image.new("RGB", side, colour).save(buffer, kind)
    return buffer.getvalue()


def add(tar, name, content):
    """Add a member: bytes of a file, None for a folder, or (kind, target) of a link."""
    member = tarfile.TarInfo(name)
    if content is None:
        member.type = tarfile.DIRTYPE
    elif isinstance(content, tuple):
        member.type, member.linkname = content
    else:
        member.size = len(content)
    tar.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)


def write_tar(path, members, mode="w:gz"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:
        for name, content in members.items():
            add(tar, name, content)
    return path


def pickled(content):
    """As Python 3 writes for Python 2 and its NumPy."""
    return pickle.dumps(content, protocol=2).replace(b"numpy._core", b"numpy.core")


def pickled_by_python2(content):
    """A mapping of bytes to lists of bytes, lists of ids or an array, as cPickle of Python 2 wrote the originals."""
    return b"\x80\x02}(" + b"".join(_short(key) + _value(value) for key, value in content.items()) + b"u."


def _short(text):
    return b"U" + bytes([len(text)]) + text


def _value(value):
    if isinstance(value, list):
        return b"](" + b"".join(_short(v) if isinstance(v, bytes) else b"K" + bytes([v]) for v in value) + b"e"
    sides = b"".join(b"M" + side.to_bytes(2, "little") for side in value.shape)
    kind = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    content = b"T" + value.size.to_bytes(4, "little") + value.tobytes()
    made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    return made + b"(K\x01" + sides + b"\x86" + kind + b"\x89" + content + b"tb"


def cifar_pictures(y, *, seed):
    """Pictures whose first pixel's red is the class and whose green is the row; the rest is noise."""
    images = np.random.default_rng(seed).integers(256, size=(len(y), 32, 32, 3), dtype=np.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = y, np.arange(len(y)) % 256
    return images


def cifar_members(name, *, n_train, n_test):
    """What the original archive holds, with `n_train` pictures of each class in each batch of train, shuffled."""
    kind, members = cifar.KINDS[name], {}
    for k, member in enumerate((*kind.train, kind.test)):
        n = n_train if member in kind.train else n_test
        y = np.random.default_rng(k).permutation(np.repeat(np.arange(kind.n_classes), n))
        flat = cifar_pictures(y, seed=k).transpose(0, 3, 1, 2).reshape(len(y), -1)
        batch = {
            b"filenames": [b"x.png"] * len(y),
            kind.prefix + b"labels": y.tolist(),
            b"data": np.ascontiguousarray(flat),
        }
        members[f"{kind.folder}/{member}"] = pickled_by_python2(batch)
    names = {kind.prefix + b"label_names": [word.encode() for word in NAMES[name]]}
    return {kind.folder: None, **members, f"{kind.folder}/{kind.meta}": pickled_by_python2(names)}


def write_cifar(root, name, *, n_train=4, n_test=2):
    members = cifar_members(name, n_train=n_train, n_test=n_test)
    return write_tar(root / name / cifar.KINDS[name].archive, members)


def imagenette_members(*, n_train, n_val):
    """What the archive holds: wide and high photographs whose red says their class, and what else lies beside them."""
    top = "imagenette2-160"
    members = {top: None, f"{top}/noisy_imagenette.csv": b"path\n", f"{top}/.DS_Store": b"x"}
    for part, n in (("val", n_val), ("train", n_train)):
        for k, wnid in enumerate(corpora.IMAGENETTE):
            for i in range(n):
                side = (213, 160) if i % 2 else (160, 199)
                members[f"{top}/{part}/{wnid}/{wnid}_{i:03d}.JPEG"] = encoded((k * 20, i, 90), side, "JPEG")
    return members


def write_imagenette(root, *, n_train=7, n_val=3):
    members = imagenette_members(n_train=n_train, n_val=n_val)
    return write_tar(root / "imagenette" / corpora.IMAGENETTE_ARCHIVE, members)
