"""Networks: tensors in, tensors out; built from entity widths, so one set serves all team sizes.

layers              entities as tokens, attention, transformer, packing
agents              observation encoder, action decoder, and all networks of HyGen in one container
trajectory_encoder  from states and joint actions to skills
mixers              from the agents' values to the team's value
fast                all that is done for speed only
"""
