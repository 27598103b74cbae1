"""The kernel that notebooks run on: `python -m verdict.workflow.kernel -f CONNECTION_FILE`.

A notebook that is made for another one is refused before anything is executed.
"""

import re
from pathlib import Path

from verdict.base.artifacts import read_json

KERNEL, LANGUAGE = "python3", "python"


def check_kernel(notebook: Path) -> None:
    """Refuse a notebook in another language than Python by a ValueError, whatever the name of its kernel."""
    content = read_json(notebook)
    metadata = content.get("metadata") or {} if isinstance(content, dict) else {}
    kernel, language = (metadata.get(name) or {} for name in ("kernelspec", "language_info"))
    if not isinstance(kernel, dict) or not isinstance(language, dict):
        raise ValueError(f"{notebook} is made for a kernel that cannot be read: {str(metadata)[:80]!r}")
    for spoken in (kernel.get("language"), language.get("name")):
        if spoken and not re.fullmatch(r"i?python\d*", str(spoken).lower()):
            raise ValueError(f"{notebook} is made for the language {spoken!r}; notebooks are in Python")


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
