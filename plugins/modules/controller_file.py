# Copyright (c) 2026 The Fairlead authors
# SPDX-License-Identifier: ISC
"""Documentation of fairlead.site.controller_file, which runs on the controller alone: plugins/action/controller_file.py."""

DOCUMENTATION = r"""
module: controller_file
short_description: A small text file on the controller, kept without a module's execution
version_added: 0.3.0
description:
  - Records and what playbooks write into the inventory. Ansible's own process writes it, as the user that runs it, whatever the
    task's connection and C(become) are. Not for secrets, its mode is 0644.
author: [The Fairlead authors (@fairlead)]
options:
  path:
    description: Where it is; its folder has to exist.
    type: path
    required: true
  content:
    description: All that is in it. Empty, it is not to be there.
    type: str
  lines:
    description: Lines to add at its end, but those that it has.
    type: list
    elements: str
attributes:
  check_mode:
    description: Predicts.
    support: full
  diff_mode:
    description: Shows both texts.
    support: full
"""

EXAMPLES = r"""
- name: Write the primary into the inventory
  fairlead.site.controller_file:
    path: "{{ inventory_dir }}/group_vars/all/primary.yml"
    content: "site_primary: db2"
  run_once: true
"""

RETURN = r"""#"""
