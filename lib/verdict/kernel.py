"""The kernel that notebooks run on: `python -m verdict.kernel -f CONNECTION_FILE`.

A notebook that is made for another one is refused before anything is executed.
"""

from __future__ import annotations

from pathlib import Path

from verdict.artifacts import read_json

KERNEL, LANGUAGE = "python3", "python"


def check_kernel(notebook: Path) -> None:
    """Refuse a notebook that says it is made for another kernel than the project's.

    Raises
    ------
    ValueError
        Naming the notebook and its kernel.
    """
    content = read_json(notebook)
    metadata = content.get("metadata") or {} if isinstance(content, dict) else {}
    kernel, language = (metadata.get(name) or {} for name in ("kernelspec", "language_info"))
    if not isinstance(kernel, dict) or not isinstance(language, dict):
        raise ValueError(f"{notebook} is made for a kernel that cannot be read: {str(metadata)[:80]!r}")
    name = kernel.get("name", KERNEL)
    spoken = {str(kernel.get("language", LANGUAGE)), str(language.get("name", LANGUAGE))}
    if name != KERNEL or spoken != {LANGUAGE}:
        raise ValueError(
            f"{notebook} is made for the kernel {name!r} ({', '.join(sorted(spoken))}); notebooks run on {KERNEL}"
        )


def main() -> None:
    """Run a kernel that reads no configuration and no start-up file, wherever the machine keeps them."""
    from ipykernel.kernelapp import IPKernelApp

    class PlainKernelApp(IPKernelApp):
        def load_config_file(self, *_: object, **__: object) -> None:
            pass

        def _run_startup_files(self) -> None:
            pass

    PlainKernelApp.launch_instance()


if __name__ == "__main__":
    main()
