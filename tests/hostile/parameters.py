"""Parameter files: tags, anchors, merge bombs, unknown keys, wrong types, encodings, names of profiles."""

from functools import partial

from corpus import Case

from verdict.base import paths
from verdict.base.params import load_params

BASE = (paths.PARAMS / "base.yaml").read_bytes()
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def load(folder, content, read):
    """What the loaded parameters hold, after writing a profile `own` with the content over the base."""
    (folder / "base.yaml").write_bytes(BASE)
    (folder / "own.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    return read(load_params("own", folder))


def title(params):
    return params.title


def named(folder, profile):
    (folder / "base.yaml").write_bytes(BASE)
    return load_params(profile, folder).title


def accepted(name, content, gives, read=title):
    return Case(name, partial(load, content=content, read=read), gives=gives)


def refused(name, content, message):
    return Case(name, partial(load, content=content, read=title), refused=message)


def refused_in_file(name, content, message):
    return refused(name, content, rf"own\.yaml.*{message}")


TAGS = {
    "tag-that-calls-system": "title: !!python/object/apply:os.system ['touch sprung']",
    "tag-of-text": "title: !!str 5",
    "tag-without-a-name": "title: ! 5",
    "tag-behind-a-directive": "%TAG !e! tag:yaml.org,2002:python/\n---\ntitle: !e!name:os.system x",
    "tag-on-a-key": "!!str title: x",
    "tag-deep-inside": "data: {seed: [1, {a: !!python/name:os.system x}]}",
}
ALIASES = {
    "alias-of-itself": "title: &x [*x]",
    "merge-of-an-alias": "data: &x {seed: 1}\nmodel:\n  <<: *x",
    "bomb-of-aliases": BOMB,
}
NOT_PLAIN = {
    "merge-of-a-mapping": ("data:\n  <<: {seed: 1}", "not readable as YAML: .*merge"),
    "key-twice": ("title: a\ntitle: b", "line 2: the key 'title' stands twice"),
    "key-twice-in-two-spellings": ('title: a\n"ti\\x74le": b', "line 2: the key 'title' stands twice"),
    "key-that-is-true": ("on: 1", "line 1: keys are text, got True"),
    "key-that-is-a-list": ("? [a, b]\n: 1", "line 1"),
    "list-in-place-of-a-mapping": ("- a\n- b", "must hold a mapping, got list"),
    "nothing-at-all": ("", "must hold a mapping, got NoneType"),
    "two-documents": ("title: a\n---\ntitle: b", "not readable as YAML"),
    "unclosed-list": ("title: [1, 2", "line 2 is not readable as YAML: [^\n]*$"),
    "latin-1": ("title: caf\xe9".encode("latin-1"), "not readable as YAML"),
    "lists-900-thousand-deep": ("[" * 900_000, "line 1: is nested more than 32 deep"),
    "surrogate-in-text": ('title: "\\ud800"', "line 1 is not readable as YAML"),
    "file-over-a-megabyte": ("#" * 1_000_001, "larger than 1,000,000 bytes"),
    "date-that-does-not-exist": ("title: 2024-13-45", "line 1"),
    "number-of-five-thousand-digits": (f"data: {{seed: {'9' * 5000}}}", "line 1"),
    "binary-number-without-digits": ("data: {seed: 0b_}", "line 1"),
    "time-read-as-sixties": ("training: {batch_size: 1:30}", "line 1.*'1:30'"),
    "leading-zero-read-as-octal": ("training: {batch_size: 010}", "line 1.*'010'"),
}
WRONG = {
    "unknown-section": ("traning: {}", "traning: unknown key; did you mean 'training'"),
    "unknown-key-deep-inside": ("policy: {costs: {humans: 1}}", "policy.costs.humans: unknown key"),
    "key-with-a-cyrillic-letter": ("d\u0430ta: {seed: 1}", "d\u0430ta: unknown key; did you mean 'data'"),
    "key-of-pydantic": ("model_config: {extra: allow}", "model_config: unknown key"),
    "number-as-text": ("data: {seed: '1'}", r"data\.seed: expected a number"),
    "exponent-as-text": ("training: {global_clipnorm: 1e-3}", "write 1.0e-3"),
    "text-as-number": ("title: 5", "title"),
    "infinity": ("training: {global_clipnorm: .inf}", "only plain numbers"),
    "seed-below-zero": ("data: {seed: -1}", r"data\.seed"),
    "control-character-in-text": ('title: "a\\0b"', "title.*U[+]0000"),
    "control-character-in-a-key": ('policy: {questions: {"a\\ab?": []}}', r"U[+]0007"),
    "trial-that-is-a-path": ("training: {trials: [{name: ../x, parent: warmup}]}", r"training\.trials\.0\.name"),
    "published-table-that-is-a-path": ("report: {published: ../../secret}", r"report\.published"),
    "hash-that-is-none": ("data: {nlvr: {sha256: zz}}", r"data\.nlvr\.sha256"),
    "question-about-a-class-that-is-none": ("policy: {questions: {'a?': [cat]}}", "names .'cat'."),
    "five-thousand-unknown-keys": ("".join(f"key_{k}: 1\n" for k in range(5000)), "5000 fault.*and 4,980 more"),
}
NAMES = {
    "profile-above": "../base",
    "profile-by-absolute-path": "/etc/passwd",
    "profile-without-a-name": "",
    "profile-with-a-nul": "base\0",
    "profile-with-a-newline": "a\nb",
}
CASES = [
    *(refused_in_file(name, text, "line [0-9]+: YAML tags") for name, text in TAGS.items()),
    *(refused_in_file(name, text, "line [0-9]+: YAML aliases") for name, text in ALIASES.items()),
    *(refused_in_file(name, *given) for name, given in NOT_PLAIN.items()),
    *(refused(name, text, rf"(?s)profile 'own'.*{message}") for name, (text, message) in WRONG.items()),
    *(Case(name, partial(named, profile=given), refused="a profile is a plain name") for name, given in NAMES.items()),
    accepted("byte-order-mark", "\ufefftitle: hello", "hello"),
    accepted("windows-line-ends", "title: hello\r\ndata:\r\n  seed: 5\r\n", 5, lambda params: params.data.seed),
    accepted("braces-in-a-title", "title: '{{ 7*7 }} ${HOME}'", "{{ 7*7 }} ${HOME}"),
    accepted("underscores-in-a-number", "data: {seed: 1_000}", 1000, lambda params: params.data.seed),
]
