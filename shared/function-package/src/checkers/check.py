# Parses a module and looks for a name that its own level binds. Nothing of the module is run.
import ast

# With one of these a module can bind names that nobody sees.
DYNAMIC = {"globals", "setattr", "exec", "vars", "locals", "__getattr__"}
# What has a level of its own.
SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


def bound_by(node):
    """The names that a node binds; None when they cannot be told."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {node.name}
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return {node.id}
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        names = {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        return None if "*" in names else names
    return set()


def may_define(tree, name):
    if any(isinstance(node, ast.Name) and node.id in DYNAMIC for node in ast.walk(tree)):
        return True
    for node in ast.walk(tree):
        if isinstance(node, ast.Global) and name in node.names:
            return True
    level = list(tree.body)
    while level:
        node = level.pop()
        bound = bound_by(node)
        if bound is None or name in bound or "__getattr__" in bound:
            return True
        if not isinstance(node, SCOPES):
            level.extend(ast.iter_child_nodes(node))
    return False


def handler(event, context):
    with open(event["file"], "rb") as file:
        source = file.read()
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        line = f" (line {error.lineno})" if error.lineno else ""
        return {"syntax": f"{type(error).__name__}: {error.msg}{line}", "defined": False}
    except (ValueError, RecursionError, MemoryError) as error:
        return {"syntax": f"{type(error).__name__}: {error}", "defined": False}
    return {"syntax": None, "defined": may_define(tree, event["name"])}
