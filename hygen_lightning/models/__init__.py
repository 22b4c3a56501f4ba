"""Networks: tensors in, tensors out; built from entity widths, so one set serves all team sizes.

hygen_network       all networks of HyGen in one container, and acting step by step
tokens              flat observations and states -> entity features and embedded tokens
attention           the transformer by definition
entity_transformer  a recurrent transformer over observation tokens; agent_rows, folded, packing
                    and distinct are its fast path
trajectory_encoder, observation_encoder, action_decoder, mixer
plain               the oracle: everything computed as the published code does
"""
