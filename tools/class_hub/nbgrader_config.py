"""What the students' own servers need to know: the class, and the folder through which assignments go."""

import os

c = get_config()  # type: ignore[name-defined]  # noqa: F821
c.CourseDirectory.course_id = os.environ["ZTH_CLASS"]
c.Exchange.root = os.environ["ZTH_EXCHANGE"]
