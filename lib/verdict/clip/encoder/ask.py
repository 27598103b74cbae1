"""Ask a vision-language assistant multiple-choice questions about pictures, and write its answers to a file.

`python -m verdict.clip.encoder.ask QUESTIONS MODEL ANSWERS` reads `questions.jsonl` in a folder and the pictures that
it names, as the page on other tasks writes them. Needs weights on this machine, or a hub that can be reached.
"""

import argparse
import json
from pathlib import Path

from verdict.base.artifacts import write_text
from verdict.base.files.images import read_image
from verdict.model.assistant import Assistant


def ask(folder: Path, preset: str, path: Path, *, max_new_tokens: int = 16, revision: str = "") -> int:
    """Ask a model (a folder or a hub id) every question of a folder, write its most likely words; returns how many.

    The folder holds `questions.jsonl`: objects of `question_id`, `image` (a file beside it) and `question`. The answer
    file is of JSON lines, as `assistant.read_answers` reads it.
    """
    rows = [json.loads(line) for line in (folder / "questions.jsonl").read_text(encoding="utf-8").splitlines()]
    assistant, lines = Assistant.load(preset, revision), []
    for row in rows:
        image = read_image(folder / Path(row["image"]).name)
        answer = assistant.words(image, row["question"], max_new_tokens=max_new_tokens)
        lines.append(json.dumps({"question_id": row["question_id"], "answer": answer}, ensure_ascii=False))
    write_text(path, "".join(f"{line}\n" for line in lines))
    return len(rows)


def main(arguments: list[str] | None = None) -> int:
    """Ask, and say how many answers were written."""
    parser = argparse.ArgumentParser(prog="python -m verdict.clip.encoder.ask", description=__doc__)
    parser.add_argument("questions", type=Path, help="folder with questions.jsonl and pictures")
    parser.add_argument("model", help="folder or hub id of an image-text-to-text model")
    parser.add_argument("answers", type=Path, help="file to write")
    parser.add_argument("--revision", default="", help="commit of a hub id")
    parser.add_argument("--max-new-tokens", type=int, default=16)
    given = parser.parse_args(arguments)
    n = ask(given.questions, given.model, given.answers, max_new_tokens=given.max_new_tokens, revision=given.revision)
    print(f"{n} answers in {given.answers}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
