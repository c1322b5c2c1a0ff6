"""YAML documents read strictly, with the line of every node, so that an error can say where it stands.

Composed by the safe loader: no tags, no objects; a repeated key is refused, where YAML itself would silently keep
the last one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml
from pydantic import ValidationError

from consent_gateway.errors import PolicyError
from consent_gateway.policies.shape import MAX_NODES, require_plain

Path = tuple[int | str, ...]
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C parser where the wheel has it


def document(name: str, text: str, most: int = MAX_NODES) -> tuple[yaml.Node, Any]:
    """Return the nodes and the plain data of a text; raises `PolicyError` that names file and line.

    `most` is the number of nodes that it may have; of a pack, unless another is said.
    """
    try:
        require_plain(name, yaml.parse(text, Loader=_LOADER), most)
        node = yaml.compose(text, Loader=_LOADER)
        if node is None:
            raise PolicyError(f"{name}: the file is empty")
        repeated = next(_repeated(node), None)
        if repeated is not None:
            raise PolicyError(f"{name}, line {repeated.start_mark.line + 1}: the key is repeated, or no plain word")
        return node, _data(name, node)
    except yaml.MarkedYAMLError as error:
        at = error.problem_mark.line + 1 if error.problem_mark else 1
        raise PolicyError(f"{name}, line {at}: {error.problem}") from None
    except yaml.YAMLError:
        raise PolicyError(f"{name}: the text has characters that YAML does not allow") from None


def _data(name: str, node: yaml.Node) -> Any:
    """Return the plain data of a node. The constructor meets a day or a number that is none with whatever it raises."""
    try:
        return yaml.constructor.SafeConstructor().construct_document(node)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        raise PolicyError(f"{name}: a value is not of the type that it is written as") from None


def _repeated(node: yaml.Node) -> Iterator[yaml.Node]:
    """Yield the keys that stand twice in one mapping, and those that are no plain words."""
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value in seen:
                yield key
            seen.add(key.value)
            yield from _repeated(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _repeated(item)


def line(node: yaml.Node, path: Path) -> int:
    """Return the line (from 1) of the deepest node that `path` reaches."""
    for step in path:
        below = _child(node, step)
        if below is None:
            break
        node = below
    return int(node.start_mark.line) + 1


def node_at(node: yaml.Node, path: Path) -> yaml.Node | None:
    """Return the node that the whole `path` reaches, or None."""
    found: yaml.Node | None = node
    for step in path:
        found = _child(found, step)
    return found


def _child(node: yaml.Node | None, step: int | str) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == step), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        item: yaml.Node = node.value[step]
        return item
    return None


def located(name: str, node: yaml.Node, error: ValidationError) -> Iterator[str]:
    """Yield each problem of a shape with its line, and with the rule that it lies in."""
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        yield f"{name}, line {line(node, problem['loc'])}: {_rule_at(node, problem['loc'])}{where}: {problem['msg']}"


def _rule_at(node: yaml.Node, path: Path) -> str:
    """Name the rule that a place lies in, if it lies in one that has an id."""
    if path[:1] != ("rules",):
        return ""
    found = node_at(node, (*path[:2], "id"))
    return f"rule {found.value!r}: " if isinstance(found, yaml.ScalarNode) else ""
