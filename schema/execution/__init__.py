"""Compiled execution of GraphQL, for any graphql-core schema.

graphql-core executes field by field: for 50 objects of 10 fields it resolves and completes 500 times,
each time finding out again what is asked, of which type it is and how values of that type are written.
Here an operation is compiled once into a *plan*, and a plan is executed level by level, over columns:

    query { devices { name images { url } } }

    level 0   the root         devices: one call                          → 50 rows
    level 1   50 devices       name: read by a generated function         → 50 dicts
                               images: one call of a batch for all 50     → 50 lists
    level 2   150 images       url: read by a generated function          → 150 dicts

What an operation asks does not change between executions, and what differs between rows is little: so
both are looked at once, per column. The set of the classes in a column tells whether anything in it needs
care. If nothing does, rows become dicts in one generated loop. If something does (a null where none may
be, an exception, a number out of range, an awaitable), that list is completed again by the careful path,
which has exactly graphql-core's errors, and its rules of what becomes null.

The modules, in the order in which to read them:

    hints     how a schema says where values come from: columns, computed, relations, root functions
    plan      what a plan is: selections, their fields, types unwrapped
    compile   from a document to a plan; what is not supported
    inputs    variables and arguments
    leaves    scalars and enums
    generate  the generated loop
    run       the runtime: selections of many rows at once
    complete  types unwrapped at run time: nulls, lists, leaves …
    objects   … and objects, by their types
    failures  errors on their way up, and which of them the response shows
    places    the paths of values, worked out only when they are needed
    steps     coroutines: what does not wait needs no task
    classes   what a class says about its values
    cache     the plans that were used last
    columns   what an operation reads of rows, so that no more is fetched, and how it writes them
    cost      what an operation costs, before it is executed
    entry     `execute`, and its halves
"""

from .cache import PlanCache, Recent
from .columns import Wanted
from .compile import compile_operation
from .cost import Measure, measure
from .entry import Bound, bind, bind_plan, execute
from .hints import EXTENSION, SIZED, Column, Computed, Hint, Relation, Root, Sized, Trusted, TypeName
from .plan import Plan, Unsupported

__all__ = [
    "EXTENSION",
    "SIZED",
    "Bound",
    "Column",
    "Computed",
    "Hint",
    "Measure",
    "Plan",
    "PlanCache",
    "Recent",
    "Relation",
    "Root",
    "Sized",
    "Trusted",
    "TypeName",
    "Unsupported",
    "Wanted",
    "bind",
    "bind_plan",
    "compile_operation",
    "execute",
    "measure",
]
