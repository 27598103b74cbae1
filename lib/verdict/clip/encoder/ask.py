"""Ask a vision-language assistant multiple-choice questions about pictures, and write its answers to a file.

`python -m verdict.clip.encoder.ask QUESTIONS MODEL ANSWERS` reads `questions.jsonl` in a folder and the pictures that
it names, as the page on other tasks writes them. Needs weights on this machine, or a hub that can be reached.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from verdict.base.artifacts import write_text

_BARE = "USER: <image>\n{}\nASSISTANT:"


def prompt_of(processor: Any, text: str) -> str:
    """A question about one image as the model's processor wants it; the form of LLaVA 1.5 where it has no template."""
    if getattr(processor, "chat_template", None):
        content = [{"type": "image"}, {"type": "text", "text": text}]
        talk = [{"role": "user", "content": content}]
        return processor.apply_chat_template(talk, add_generation_prompt=True, tokenize=False)
    return _BARE.format(text)


def ask(folder: Path, preset: str, path: Path, *, max_new_tokens: int = 16, revision: str | None = None) -> int:
    """Ask a model (a folder or a hub id) every question of a folder, write its most likely words; returns how many.

    The folder holds `questions.jsonl`: objects of `question_id`, `image` (a file beside it) and `question`. The answer
    file is of JSON lines, as `assistant.read_answers` reads it.
    """
    rows = [json.loads(line) for line in (folder / "questions.jsonl").read_text(encoding="utf-8").splitlines()]
    model = AutoModelForImageTextToText.from_pretrained(preset, revision=revision).eval()
    processor = AutoProcessor.from_pretrained(preset, revision=revision)
    lines = []
    for row in rows:
        image = Image.open(folder / Path(row["image"]).name).convert("RGB")
        given = processor(images=image, text=prompt_of(processor, row["question"]), return_tensors="pt")
        given = given.to(model.device, model.dtype)
        with torch.inference_mode():
            said = model.generate(**given, max_new_tokens=max_new_tokens, do_sample=False)
        answer = processor.tokenizer.decode(said[0, given["input_ids"].shape[1] :], skip_special_tokens=True).strip()
        lines.append(json.dumps({"question_id": row["question_id"], "answer": answer}, ensure_ascii=False))
    write_text(path, "".join(f"{line}\n" for line in lines))
    return len(rows)


def main(arguments: list[str] | None = None) -> int:
    """Ask, and say how many answers were written."""
    parser = argparse.ArgumentParser(prog="python -m verdict.clip.encoder.ask", description=__doc__)
    parser.add_argument("questions", type=Path, help="folder with questions.jsonl and pictures")
    parser.add_argument("model", help="folder or hub id of an image-text-to-text model")
    parser.add_argument("answers", type=Path, help="file to write")
    parser.add_argument("--revision", help="commit of a hub id")
    parser.add_argument("--max-new-tokens", type=int, default=16)
    given = parser.parse_args(arguments)
    n = ask(given.questions, given.model, given.answers, max_new_tokens=given.max_new_tokens, revision=given.revision)
    print(f"{n} answers in {given.answers}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
